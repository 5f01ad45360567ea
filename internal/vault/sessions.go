package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// defaultTimeout bounds one request to Vault if Options leave it open.
const defaultTimeout = 10 * time.Second

// Options say how sessions reach Kubernetes and Vault.
type Options struct {
	// Reader gets Secrets and ConfigMaps by name. It must not be cached: a cache would watch, and so need the right to list
	// every Secret, and a changed credential must be seen at once. Required.
	Reader client.Reader
	// AllowedURLs are the origins, such as https://vault.example.com:8200, that credentials may be sent to. If it is empty,
	// every https origin is allowed. An http origin must be listed.
	AllowedURLs []string
	// AllowedProxyURLs are the origins of proxies that may stand on the way to Vault. If it is empty, every proxy may, unless
	// AllowedURLs is set: then none may.
	AllowedProxyURLs []string
	// Clock decides when something is due. The real clock if nil.
	Clock clock.PassiveClock
	// Timeout of one request to Vault, its answer included, where spec.limits sets none; 10 s if zero.
	Timeout time.Duration
}

// Sessions holds one Session per VaultConfig. It is safe for concurrent use.
type Sessions struct {
	reader  client.Reader
	allowed allowed
	clock   clock.PassiveClock
	timeout time.Duration
	wires   wires

	mu    sync.Mutex
	byUID map[types.UID]*Session
}

// NewSessions returns Sessions that hold nothing yet. It fails if Options lack a Reader or list something that is no origin.
func NewSessions(options Options) (*Sessions, error) {
	if options.Reader == nil {
		return nil, errors.New("sessions need a reader for Secrets and ConfigMaps")
	}
	allowed, err := newAllowed(options)
	if err != nil {
		return nil, err
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	return &Sessions{
		reader:  options.Reader,
		allowed: allowed,
		clock:   options.Clock,
		timeout: options.Timeout,
		wires:   wires{timeout: options.Timeout, clock: options.Clock, byKey: map[routeKey]*wire{}},
		byUID:   map[types.UID]*Session{},
	}, nil
}

// For returns the session of a VaultConfig, logged in. It is cached by the object's UID: it logs in (reads the Secret,
// asks auth/token/lookup-self) when there is no session yet, when the spec's generation changed, and when the content of the Secret
// changed. The Secret is read again once a minute at most, or at once after a failure. Concurrent callers share one
// login. After Vault rejected the credential, only the Secret is looked at until its content changes.
//
// Errors are faults: InvalidSpec, CredentialMissing, AuthFailed, and what can be wrong with any request to Vault.
func (s *Sessions) For(ctx context.Context, config *v1alpha1.VaultConfig) (*Session, error) {
	session, err := s.session(config)
	if err != nil {
		return nil, err
	}
	if _, err := session.ready(ctx); err != nil {
		return nil, err
	}
	return session, nil
}

// Health is what sys/health says, which needs no token. All that reach Vault in the same way share one answer for some seconds. A
// sealed, uninitialized or standby Vault is no error. Errors are faults: InvalidSpec, CredentialMissing (the certificates),
// VaultUnreachable, TLSFailed.
func (s *Sessions) Health(ctx context.Context, config *v1alpha1.VaultConfig) (Health, error) {
	session, err := s.session(config)
	if err != nil {
		return Health{}, err
	}
	return session.health(ctx)
}

// Forget drops the session of a VaultConfig that no longer exists, and its connections if no other session uses them. The
// token is not revoked: it belongs to whoever put it into the Secret.
func (s *Sessions) Forget(uid types.UID) {
	s.mu.Lock()
	delete(s.byUID, uid)
	s.mu.Unlock()
	s.dropUnusedLinks()
}

// Format prints no session, and so no token, for every verb.
func (s *Sessions) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "vault.Sessions") }

// session returns the session of a VaultConfig, logged in or not.
func (s *Sessions) session(config *v1alpha1.VaultConfig) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if config.UID == "" { // two of them would share one session, and so one credential
		return nil, fault.Invalid(v1alpha1.ReasonInternal, "%s has no UID: it was not read from Kubernetes", configName(config))
	}
	current := s.byUID[config.UID]
	// A caller whose copy of the object is older than another caller's gets the session of the newer spec.
	if current != nil && current.config.Generation >= config.Generation {
		return current, nil
	}
	next, err := newSession(s, config.DeepCopy())
	if err != nil {
		// The owner changed the spec into something that cannot work; the old one must not go on working.
		delete(s.byUID, config.UID)
		return nil, err
	}
	s.byUID[config.UID] = next
	return next, nil
}

func (s *Sessions) dropUnusedLinks() {
	s.mu.Lock()
	used := make(map[*wire]bool, len(s.byUID))
	for _, session := range s.byUID {
		session.uses(used)
	}
	s.mu.Unlock()
	s.wires.keep(used)
}
