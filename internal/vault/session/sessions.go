package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// defaultTimeout bounds one request to Vault if Options leave it open.
const defaultTimeout = 10 * time.Second

// idleTime is how long a workload's session is kept that nobody uses.
const idleTime = 15 * time.Minute

// Options say how sessions reach Kubernetes and Vault.
type Options struct {
	// Reader gets Secrets and ConfigMaps by name. It must not be cached: a cache would watch, and so need the right to list
	// every Secret, and a changed credential must be seen at once. Required.
	Reader client.Reader
	// Kubernetes makes and reviews tokens of service accounts. Without it, VaultConfigs that name one cannot be used.
	Kubernetes kubernetes.Interface
	// AllowedURLs are the origins, such as https://vault.example.com:8200, that credentials may be sent to. If it is empty,
	// every https origin is allowed. An http origin must be listed.
	AllowedURLs []string
	// AllowedProxyURLs are the origins of proxies that may stand on the way to Vault. If it is empty, every proxy may, unless
	// AllowedURLs is set: then none may.
	AllowedProxyURLs []string
	// Clock decides when something is due. The real clock if nil.
	Clock clock.PassiveClock
	// Timeout of one request to Vault, its response included, where spec.limits sets none; 10 s if zero.
	Timeout time.Duration
}

// Sessions holds one Session per identity: one for each VaultConfig, or one for each service account whose pods use it. It is safe
// for concurrent use.
type Sessions struct {
	environment *environment
	ephemeral   *ephemeralPool

	mu    sync.Mutex
	byUID map[types.UID]map[sessionKey]*Session
}

// sessionKey is whose identity a session has: a workload's, or that of the VaultConfig itself if it is empty.
type sessionKey struct{ namespace, serviceAccount string }

// NewSessions returns Sessions that hold nothing yet. It fails if Options lack a Reader or list something that is no origin.
func NewSessions(options Options) (*Sessions, error) {
	if options.Reader == nil {
		return nil, errors.New("sessions need a reader for Secrets and ConfigMaps")
	}
	allowed, err := transport.NewAllowedOrigins(options.AllowedURLs, options.AllowedProxyURLs)
	if err != nil {
		return nil, err
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	sessions := newSessions(&environment{
		reader: options.Reader, kubernetes: options.Kubernetes, allowed: allowed, clock: options.Clock, timeout: options.Timeout,
		source: auth.FromSpec,
	})
	sessions.ephemeral = newEphemeralPool(sessions.environment)
	return sessions, nil
}

// newSessions returns Sessions without ephemeral ones.
func newSessions(env *environment) *Sessions {
	env.pool = transport.NewPool(env.timeout, env.clock)
	s := &Sessions{environment: env, byUID: map[types.UID]map[sessionKey]*Session{}}
	env.connChanged = s.dropUnusedTransports
	return s
}

// For returns the session of a VaultConfig, logged in. It is cached by the object's UID: it logs in when there is no session yet,
// when the spec changed in what a login depends on, and when the content of the Secret changed. The Secret is read again once a
// minute at most, or at once after a failure. Concurrent callers share one login. After Vault rejected the credential, only the
// Secret is looked at until its content changes; a login that can lock nobody out is tried again now and then.
//
// Errors are faults: InvalidSpec (also for a VaultConfig that logs in as a workload), CredentialMissing, AuthFailed, and what can
// be wrong with any request to Vault.
func (s *Sessions) For(ctx context.Context, config *v1alpha1.VaultConfig) (*Session, error) {
	return s.ForWorkload(ctx, config, nil)
}

// ForWorkload is For on behalf of a pod. If the VaultConfig logs in as the workload, the session is that of the pod's service
// account, and its first user's token is what it logs in with.
func (s *Sessions) ForWorkload(ctx context.Context, config *v1alpha1.VaultConfig, workload *auth.Workload) (*Session, error) {
	switch {
	case !auth.IsWorkload(config):
		workload = nil
	case workload == nil:
		_, err := auth.New(auth.Input{Config: config, Source: s.environment.source(config)}) // says what is needed instead
		return nil, about(err, config)
	}
	session, err := s.session(config, workload)
	if err != nil {
		return nil, err
	}
	defer session.leave()
	if _, err := session.ready(ctx); err != nil {
		return nil, err
	}
	return session, nil
}

// Health is what sys/health says, which needs no token. All that reach Vault in the same way share one result for some seconds. A
// sealed, uninitialized or standby Vault is no error. Errors are faults: InvalidSpec, CredentialMissing (the certificates),
// VaultUnreachable, TLSFailed.
func (s *Sessions) Health(ctx context.Context, config *v1alpha1.VaultConfig) (transport.Health, error) {
	var nobody *auth.Workload
	if auth.IsWorkload(config) {
		nobody = &auth.Workload{Token: func(context.Context, string) (string, error) { return "", errors.New("health needs no login") }}
	}
	session, err := s.session(config, nobody)
	if err != nil {
		return transport.Health{}, err
	}
	return session.Health(ctx)
}

// Forget drops the sessions of an object that no longer exists, and their connections if no other session uses them. Tokens that
// they obtained by login are revoked as soon as nothing depends on them; one that somebody put into a Secret is theirs.
func (s *Sessions) Forget(uid types.UID) {
	s.mu.Lock()
	gone := slices.Collect(maps.Values(s.byUID[uid]))
	delete(s.byUID, uid)
	s.mu.Unlock()
	for _, session := range gone {
		session.close()
	}
	s.dropUnusedTransports()
}

// Start drops what is idle once a minute until ctx ends. Nothing is revoked when the process ends: what was made with a token would
// die with it, and another process goes on using it.
func (s *Sessions) Start(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.DropIdle()
		}
	}
}

// NeedLeaderElection tells the manager to run Start in every replica.
func (s *Sessions) NeedLeaderElection() bool { return false }

// DropIdle drops the sessions of workloads that nobody has used for a while: their pods are gone.
func (s *Sessions) DropIdle() {
	now := s.environment.clock.Now()
	var idle []*Session
	s.mu.Lock()
	for uid, sessions := range s.byUID {
		for key, session := range sessions {
			if session.workload != nil && session.idleSince(now) >= idleTime {
				idle = append(idle, session)
				delete(sessions, key)
			}
		}
		if len(sessions) == 0 {
			delete(s.byUID, uid)
		}
	}
	s.mu.Unlock()
	for _, session := range idle {
		session.close()
	}
	if len(idle) > 0 {
		s.dropUnusedTransports()
	}
}

// Format prints no session, and so no token, for every verb.
func (s *Sessions) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "session.Sessions") }

// session returns the session of a VaultConfig, logged in or not.
func (s *Sessions) session(config *v1alpha1.VaultConfig, workload *auth.Workload) (*Session, error) {
	session, former, err := s.choose(config, workload)
	for _, session := range former {
		session.close()
	}
	return session, about(err, config)
}

// about says that an error concerns the object that says how to log in.
func about(err error, config *v1alpha1.VaultConfig) error {
	if err == nil {
		return nil
	}
	return fault.About(err, transport.SubjectOf(config))
}

// choose returns the session to use, and those that it replaced.
func (s *Sessions) choose(config *v1alpha1.VaultConfig, workload *auth.Workload) (*Session, []*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if config.UID == "" { // two of them would share one session, and so one credential
		return nil, nil, fault.Terminal(v1alpha1.ReasonInternal, "%s has no UID: it was not read from Kubernetes", transport.SubjectOf(config))
	}
	var key sessionKey
	var identity *auth.WorkloadIdentity
	if workload != nil {
		key = sessionKey{workload.Namespace, workload.ServiceAccount}
		identity = auth.NewWorkloadIdentity(workload)
	}
	former := s.byUID[config.UID]
	current := former[key]
	// A caller whose copy of the object is older than another caller's gets the session of the newer spec.
	if current != nil && current.config.Generation >= config.Generation {
		current.touch(workload)
		return current, nil, nil
	}
	next, err := newSession(s.environment, config.DeepCopy(), identity)
	// If the owner changed the spec into something that cannot work, the old one must not go on working.
	var replaced []*Session
	for other, session := range former {
		if session.config.Generation < config.Generation && (err != nil || other == key || !sameLogin(session.config, config)) {
			replaced = append(replaced, session)
			delete(former, other)
		}
	}
	if err != nil {
		return nil, replaced, err
	}
	if current != nil && sameLogin(current.config, config) {
		next.takeOver(current)
	}
	next.touch(workload)
	if former == nil {
		former = map[sessionKey]*Session{}
		s.byUID[config.UID] = former
	}
	former[key] = next
	return next, replaced, nil
}

// sameLogin tells whether two generations of a VaultConfig log in to the same Vault in the same way.
func sameLogin(former, next *v1alpha1.VaultConfig) bool {
	login := func(config *v1alpha1.VaultConfig) *v1alpha1.VaultConfigSpec {
		spec := config.Spec.DeepCopy()
		// What says how a session is used, and not who it is.
		spec.Enabled, spec.AutoRenew, spec.EnginePath = nil, nil, ""
		spec.AllowedNamespaces, spec.AllowedSystemPaths, spec.AllowWrappedResults = nil, nil, nil
		return spec
	}
	return equality.Semantic.DeepEqual(login(former), login(next))
}

func (s *Sessions) dropUnusedTransports() {
	s.mu.Lock()
	used := map[*transport.Transport]bool{}
	for _, sessions := range s.byUID {
		for _, session := range sessions {
			session.inUse(used)
		}
	}
	s.mu.Unlock()
	s.environment.pool.Keep(used)
}
