package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

// defaultTimeout bounds one request to Vault if Options leave it open.
const defaultTimeout = 10 * time.Second

// Options say how sessions reach Kubernetes and Vault.
type Options struct {
	// Reader gets Secrets and ConfigMaps by name. It must not be cached: a cache would watch, and so need the right to
	// list every Secret, and a changed credential must be seen at once. Required.
	Reader client.Reader
	// Kubernetes makes and reviews tokens of service accounts. Without it, VaultConfigs that name one cannot be used.
	Kubernetes kubernetes.Interface
	// AllowedURLs are the origins, such as https://vault.example.com:8200, that credentials may be sent to. If it is
	// empty, every https origin is allowed. An http origin must be listed.
	AllowedURLs []string
	// AllowedProxyURLs are the origins of proxies that may stand on the way to Vault. If it is empty, every proxy may,
	// unless AllowedURLs is set: then none may.
	AllowedProxyURLs []string
	// Networks are where connections to Vaults and proxies may lead; everywhere if nil.
	Networks *networks.Guard
	// RequestsPerSecond is how many requests all sessions together send to Vaults, and Burst how many at once; without
	// a bound if zero. Namespaces have turns.
	RequestsPerSecond, Burst int
	// Clock decides when something is due. The real clock if nil.
	Clock clock.PassiveClock
	// Leading tells whether this replica is the one whose VaultConfig controller works. Where Vault counts refused
	// logins, to lock the account, it logs in first, and the others when the object's status says that Vault accepts
	// the login. Always true if nil.
	Leading func() bool
	// Timeout of one request to Vault, its response included, where spec.limits sets none; 10 s if zero.
	Timeout time.Duration
}

// Sessions holds one Session per identity: one for each VaultConfig, or one for each service account whose pods use it,
// and one for each VaultTask that names one.
// It is safe for concurrent use.
type Sessions struct {
	set       *sessionSet
	ephemeral *ephemeralPool
}

// NewSessions returns Sessions that hold nothing yet. It fails if Options lack a Reader or list something that is no
// origin.
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
	if options.Leading == nil {
		options.Leading = func() bool { return true }
	}
	env := &environment{
		reader: options.Reader, kubernetes: options.Kubernetes, allowed: allowed, clock: options.Clock,
		timeout: options.Timeout, networks: options.Networks, accounts: newAccounts(options.Clock), leading: options.Leading,
		source: auth.FromSpec,
	}
	env.pool = transport.NewPool(
		env.timeout, env.clock, env.networks, transport.NewReplicaLimiter(options.RequestsPerSecond, options.Burst))
	return &Sessions{set: newSessionSet(env), ephemeral: newEphemeralPool(env)}, nil
}

// For returns the session of a VaultConfig, logged in. It is cached by the object's UID: it logs in when there is no
// session yet, when the spec changed in what a login depends on, and when the content of the Secret changed. The Secret
// is read again once a minute at most, or at once after a failure. Concurrent callers share one login. After Vault
// rejected the credential, only the Secret is looked at until its content changes; a login that can lock nobody out is
// tried again now and then.
//
// Errors are faults: InvalidSpec (also for a VaultConfig that logs in as a workload), CredentialMissing, AuthFailed,
// and what can be wrong with any request to Vault.
func (s *Sessions) For(ctx context.Context, config *v1alpha1.VaultConfig) (*Session, error) {
	return s.ForWorkload(ctx, config, nil)
}

// ForWorkload is For on behalf of a pod or a VaultTask. If the VaultConfig logs in as the workload, the session is that
// of the pod's service account, and its first user's token is what it logs in with; a VaultTask's is its own, and ends
// when its UID is forgotten, or nobody has used it for a while.
func (s *Sessions) ForWorkload(
	ctx context.Context, config *v1alpha1.VaultConfig, workload *auth.Workload,
) (*Session, error) {
	switch {
	case !auth.IsWorkload(config):
		workload = nil
	case workload == nil:
		// The error says what is needed instead.
		_, err := auth.New(auth.Input{Config: config, Source: s.set.environment.source(config)})
		return nil, about(err, config)
	}
	session, err := s.set.session(config, workload)
	if err != nil {
		return nil, err
	}
	defer session.holder.leave()
	if _, err := session.holder.ready(ctx); err != nil {
		return nil, err
	}
	return session, nil
}

// Ephemeral returns a session for a Vault whose credentials are in memory only, logged in: every Secret key that the
// config refers to is taken from credentials. Who uses it at the same time shares it; after the last one's close
// nothing is kept of it but a secret ID that a wrapping token gave, its connections end and a token that it obtained
// by login is revoked. The config comes from the keys of a Connection, whose UID it has, and sentences say so. User
// names come from where credentials come from, so that sentences leave them out.
func (s *Sessions) Ephemeral(
	ctx context.Context, config *v1alpha1.VaultConfig, credentials map[string]string,
) (session *Session, closeSession func(), err error) {
	key, err := ephemeralKey(config, credentials)
	if err != nil {
		return nil, nil, err
	}
	acquired, err := s.ephemeral.acquire(key, config, credentials)
	if err != nil {
		return nil, nil, err
	}
	closeSession = sync.OnceFunc(func() { s.ephemeral.release(key, acquired) })
	if _, err = acquired.session.holder.ready(ctx); err != nil {
		closeSession()
		return nil, nil, err
	}
	return acquired.session, closeSession, nil
}

// Health is what sys/health says, which needs no token. All that reach Vault in the same way share one result for some
// seconds. A sealed, uninitialized or standby Vault is no error. Errors are faults: InvalidSpec, CredentialMissing (the
// certificates), VaultUnreachable, TLSFailed.
func (s *Sessions) Health(ctx context.Context, config *v1alpha1.VaultConfig) (transport.Health, error) {
	session, err := s.loggedOut(config)
	if err != nil {
		return transport.Health{}, err
	}
	return session.Health(ctx)
}

// Serves is nil if Vault answers at the path of logins of a VaultConfig: what is known of a Vault whose sys/health is
// hidden where pods log in, and nobody else. It is no login. Errors are faults.
func (s *Sessions) Serves(ctx context.Context, config *v1alpha1.VaultConfig) error {
	session, err := s.loggedOut(config)
	if err != nil {
		return err
	}
	return session.Serves(ctx)
}

// loggedOut returns a session for requests without a token.
func (s *Sessions) loggedOut(config *v1alpha1.VaultConfig) (*Session, error) {
	var nobody *auth.Workload
	if auth.IsWorkload(config) {
		nobody = &auth.Workload{Token: func(context.Context, string) (string, error) {
			return "", errors.New("nobody logs in")
		}}
	}
	return s.set.session(config, nobody)
}

// Credential is the fingerprint of what a VaultConfig would log in with now, which is read from Kubernetes; zero where
// that is stored nowhere. Vault is not asked. Errors are faults.
func (s *Sessions) Credential(
	ctx context.Context, config *v1alpha1.VaultConfig,
) (fingerprint [sha256.Size]byte, err error) {
	if auth.StoresNoCredential(config) {
		return fingerprint, nil
	}
	session, err := s.set.session(config, nil)
	if err != nil {
		return fingerprint, err
	}
	c, err := session.holder.method.ReadCredential(ctx, s.set.environment.reader)
	return c.Fingerprint, about(err, config)
}

// OnTurn has a function called when the session of a VaultConfig can be used no more, or again. It must not call back.
func (s *Sessions) OnTurn(turned func(config types.NamespacedName)) {
	s.set.environment.turned.Store(&turned)
}

// RefusedLogin is the last login of a VaultConfig that Vault refused and counted, since it accepted one; the zero value
// if there is none.
func (s *Sessions) RefusedLogin(uid types.UID) Refused { return s.set.refusedLogin(uid) }

// Forget drops the sessions of an object that no longer exists, and their connections if no other session uses them. Of
// a VaultTask these are also the ones that it has with VaultConfigs as a service account.
// Tokens that they obtained by login are revoked as soon as nothing depends on them; one that somebody put into a
// Secret is theirs. Where leases depend on a session, they can be revoked for a while yet: see Draining.
// Of a Connection it is the secret IDs that its wrapping tokens gave.
func (s *Sessions) Forget(uid types.UID) {
	s.set.forget(uid)
	s.ephemeral.secretIDs.Forget(uid)
}

// Draining returns a session with which leases can be revoked whose VaultConfig, or what that logs in with, is gone for
// less than drainTime: it makes requests with the last token, as long as that lives, and never with another. It is nil
// if there is none. The workload, namespace and name of a service account, is empty for a VaultConfig's own identity.
func (s *Sessions) Draining(config types.NamespacedName, vault string, workload types.NamespacedName) *Session {
	return s.set.drained(drainKey{config, vault, sessionKey{namespace: workload.Namespace, serviceAccount: workload.Name}})
}

// stopTimeout bounds what is still revoked when the process ends: less than the termination grace period.
const stopTimeout = 10 * time.Second

// Start drops what is idle once a minute until ctx ends. Then it revokes the tokens that were obtained by login and
// that nothing depends on, as far as that goes in stopTimeout: those that leases depend on live on, for another process
// goes on using the leases.
func (s *Sessions) Start(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			s.stop(context.WithoutCancel(ctx))
			return nil
		case <-ticker.C:
			s.DropIdle()
		}
	}
}

func (s *Sessions) stop(ctx context.Context) {
	s.set.forgetAll()
	revocations := &s.set.environment.revocations
	_ = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, stopTimeout, true,
		func(context.Context) (bool, error) { return revocations.idle(), nil })
}

// NeedLeaderElection tells the manager to run Start in every replica.
func (s *Sessions) NeedLeaderElection() bool { return false }

// DropIdle drops the sessions of workloads that nobody has used for a while: their pods are gone.
func (s *Sessions) DropIdle() { s.set.dropIdle() }

// Format prints no session, and so no token, for every verb.
func (s *Sessions) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "session.Sessions") }
