package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// recheckInterval is how often what a session was made from is compared with what it is now: the Secret, the CA certificate
// and the versions of engines.
const recheckInterval = time.Minute

// Session is one identity at one Vault: what a VaultConfig says. It is safe for concurrent use, and follows the credential: when
// the Secret's content changes, it logs in with it before the next request. A token that it obtained by login it keeps alive for
// as long as it is used: it is renewed, or replaced by a new login, before the first request that comes when that is due.
type Session struct {
	sessions *Sessions
	config   *v1alpha1.VaultConfig // a private copy, never changed
	origin   string
	proxy    string
	pace     *pace
	method   method
	visitor  *visitor // whose workload identity it is; nil for that of the VaultConfig
	flights  singleflight.Group

	mu sync.Mutex
	// link to Vault; nil until it is first needed.
	link        *link
	linkChecked time.Time
	// identity that requests are made with; nil while there is none.
	identity *identity
	// checked is when identity was last compared with the credential in Kubernetes.
	checked time.Time
	// rejected is the last credential that Vault did not accept; nil if there is none.
	rejected *rejection
	// extension is how the last attempt to keep the token alive failed; nil if it did not.
	extension *setback
	// trusted is how long the token's policies are taken for those that a new login would give; zero: policiesTrusted.
	trusted time.Duration
	// retired: nobody gets this session any more. Who still holds it can finish.
	retired bool
	used    time.Time
	engines map[string]engine
}

// identity is the outcome of a login. It is never changed, only replaced.
type identity struct {
	// base is the link that the login began on, link the one for requests: another if the token is bound to a client certificate.
	base, link *link
	credential credential
	token      token
	info       TokenInfo
	since      time.Time // of the login
	renewAt    time.Time
	usage      *usage
}

func newSession(sessions *Sessions, config *v1alpha1.VaultConfig, guest *visitor) (*Session, error) {
	origin, err := sessions.allowed.vault(config)
	if err != nil {
		return nil, err
	}
	proxy, err := sessions.allowed.proxy(config)
	if err != nil {
		return nil, err
	}
	method, err := methodOf(config, sessions.kubernetes, guest)
	if err != nil {
		return nil, err
	}
	if m, ok := method.(*passwordMethod); ok && sessions.unnamed {
		m.unname(config)
	}
	return &Session{
		sessions: sessions, config: config, origin: origin, proxy: proxy, pace: newPace(config.Spec.Limits), method: method, visitor: guest,
		used: sessions.clock.Now(), engines: map[string]engine{},
	}, nil
}

// Token describes the session's token; the zero TokenInfo while there is none that Vault accepts.
func (s *Session) Token() TokenInfo {
	current := s.currentIdentity()
	if current == nil {
		return TokenInfo{}
	}
	info := current.info
	info.Policies = slices.Clone(info.Policies)
	return info
}

// Subject is the workload, as namespace/name of its service account, whose identity the session has; empty for the VaultConfig's own.
func (s *Session) Subject() string {
	if s.visitor == nil {
		return ""
	}
	return s.visitor.namespace + "/" + s.visitor.serviceAccount
}

// ServiceAccount is the name of the workload's service account; empty for the VaultConfig's own identity.
func (s *Session) ServiceAccount() string {
	if s.visitor == nil {
		return ""
	}
	return s.visitor.serviceAccount
}

// Format prints whose session it is, for every verb: fmt would find the token in it otherwise.
func (s *Session) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "session of "+s.as()) }

// as is how sentences call this session.
func (s *Session) as() string { return configName(s.config) + ", auth " + s.method.label() }

func (s *Session) currentIdentity() *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// uses adds the wires that the session needs.
func (s *Session) uses(used map[*wire]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		used[s.link.wire] = true
	}
	if s.identity != nil {
		used[s.identity.link.wire] = true
	}
}

// use notes that somebody uses the session now.
func (s *Session) use(workload *Workload) {
	s.mu.Lock()
	s.used = s.sessions.clock.Now()
	s.mu.Unlock()
	if s.visitor != nil {
		s.visitor.welcome(workload)
	}
}

func (s *Session) idleSince(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.used)
}

// leave is called after a use of the session: if that was dropped meanwhile, nobody will use its token again.
func (s *Session) leave() {
	s.mu.Lock()
	retired := s.retired && s.method.ours()
	s.mu.Unlock()
	if retired {
		s.drop()
	}
}

// succeed takes over what a former session of the same login has, so that a change of the spec that does not concern the login
// costs none, and its token, with all that depends on it, lives on.
func (s *Session) succeed(former *Session) {
	former.mu.Lock()
	defer former.mu.Unlock()
	s.method, s.visitor = former.method, former.visitor
	s.link, s.linkChecked, s.pace = former.link, former.linkChecked, former.pace
	s.identity, s.checked = former.identity, former.checked
	s.rejected, s.extension = former.rejected, former.extension
	former.identity = nil
}

// retire is called when nobody gets this session any more.
func (s *Session) retire() {
	s.mu.Lock()
	former := s.identity
	s.retired = true
	if s.method.ours() {
		s.identity = nil
	}
	s.mu.Unlock()
	if former != nil {
		former.usage.retire()
	}
}

// do makes requests with the session's identity. If Vault denies them, it finds out why: with a new credential they are tried
// once more; otherwise the token is dead, or the policy does not allow it.
func (s *Session) do(ctx context.Context, requests func(context.Context, *identity) error) error {
	defer s.leave()
	current, err := s.ready(ctx)
	if err != nil {
		return err
	}
	err = current.lend(ctx, requests)
	switch {
	case fault.Is(err, v1alpha1.ReasonTLSFailed):
		s.doubtLink()
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		next, dead := s.challenge(ctx, current)
		if dead != nil {
			return dead
		}
		if next != current {
			return next.lend(ctx, requests)
		}
	}
	return err
}

// lend makes requests with the identity; while they are under way its token is not revoked.
func (i *identity) lend(ctx context.Context, requests func(context.Context, *identity) error) error {
	release := i.usage.hold()
	defer release()
	return requests(ctx, i)
}

// share runs a step that all concurrent callers wait for. It goes on when the caller that began it gives up; each waits only as
// long as its own context lets it.
func (s *Session) share(ctx context.Context, step string, run func(context.Context) (*identity, error)) (*identity, error) {
	done := s.flights.DoChan(step, func() (any, error) {
		// Enough for the Kubernetes API and a few requests to Vault, each of which has its own bound.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*s.timeout())
		defer cancel()
		return run(detached)
	})
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, fault.Transient(v1alpha1.ReasonInternal, "given up while waiting for a login (%s)", s.as())
		}
		return nil, fault.Transient(v1alpha1.ReasonVaultUnreachable, "no login in the time that the caller allows (%s)", s.as())
	case result := <-done:
		next, _ := result.Val.(*identity)
		return next, settled(result.Err)
	}
}

// settled is what a failed login or renewal means to the request that waits for it: that was not sent, so nothing about it is
// unknown.
func settled(err error) error {
	if fault.OutcomeUnknown(err) {
		return fault.From(err).WithOutcomeUnknown(false)
	}
	return err
}
