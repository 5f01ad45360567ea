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
// the Secret's content changes, it logs in with it before the next request.
type Session struct {
	sessions *Sessions
	config   *v1alpha1.VaultConfig // a private copy, never changed
	origin   string
	proxy    string
	pace     *pace
	method   method
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
	engines  map[string]engine
}

// identity is the outcome of a login. It is never changed, only replaced.
type identity struct {
	link       *link
	credential credential
	token      token
	info       TokenInfo
	renewAt    time.Time
}

// rejection remembers a credential that Vault does not accept, so that it is not offered again.
type rejection struct {
	fingerprint [32]byte
	err         error
}

func newSession(sessions *Sessions, config *v1alpha1.VaultConfig) (*Session, error) {
	origin, err := sessions.allowed.vault(config)
	if err != nil {
		return nil, err
	}
	proxy, err := sessions.allowed.proxy(config)
	if err != nil {
		return nil, err
	}
	method, err := methodOf(config)
	if err != nil {
		return nil, err
	}
	return &Session{
		sessions: sessions, config: config, origin: origin, proxy: proxy, pace: newPace(config.Spec.Limits), method: method, engines: map[string]engine{},
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

// Format prints whose session it is, for every verb: fmt would find the token in it otherwise.
func (s *Session) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "session of "+s.as()) }

// as is how sentences call this session.
func (s *Session) as() string { return configName(s.config) + ", auth " + s.method.name() }

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

// do makes requests with the session's identity. If Vault denies them, it finds out why: with a new credential they are tried
// once more; otherwise the token is dead, or the policy does not allow it.
func (s *Session) do(ctx context.Context, requests func(context.Context, *identity) error) error {
	current, err := s.ready(ctx)
	if err != nil {
		return err
	}
	err = requests(ctx, current)
	switch {
	case fault.Is(err, v1alpha1.ReasonTLSFailed):
		s.doubtLink()
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		next, dead := s.challenge(ctx, current)
		if dead != nil {
			return dead
		}
		if next != current {
			return requests(ctx, next)
		}
	}
	return err
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
			return nil, fault.New(v1alpha1.ReasonInternal, "given up while waiting for a login (%s)", s.as())
		}
		return nil, fault.New(v1alpha1.ReasonVaultUnreachable, "no login in the time that the caller allows (%s)", s.as())
	case result := <-done:
		next, _ := result.Val.(*identity)
		return next, result.Err
	}
}
