package vault

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Ephemeral returns a session for a Vault whose credentials are in memory only, logged in: every Secret key that the config refers to
// is taken from credentials. Who uses it at the same time shares it; after the last one's close nothing is kept of it, its connections end
// and a token that it obtained by login is revoked. User names come from where credentials come from, so that sentences leave them out.
func (s *Sessions) Ephemeral(
	ctx context.Context, config *v1alpha1.VaultConfig, credentials map[string]string,
) (session *Session, closeSession func(), err error) {
	key, err := lentKey(config, credentials)
	if err != nil {
		return nil, nil, err
	}
	borrowed, err := s.lent.borrow(s, key, config, credentials)
	if err != nil {
		return nil, nil, err
	}
	closeSession = sync.OnceFunc(func() { s.lent.giveBack(key, borrowed, s.clock.Now()) })
	if _, err = borrowed.session.ready(ctx); err != nil {
		closeSession()
		return nil, nil, err
	}
	return borrowed.session, closeSession, nil
}

// lent are the sessions whose credentials are in memory only.
type lent struct {
	mu    sync.Mutex
	byKey map[[sha256.Size]byte]*loan
	// refused are the logins that Vault does not accept, so that no user is locked out by attempts that follow each other.
	refused map[[sha256.Size]byte]refusal
}

type loan struct {
	own     *Sessions
	session *Session
	users   int
}

type refusal struct {
	*rejection
	seen time.Time
}

// lentKey tells one login from another. It stays in memory.
func lentKey(config *v1alpha1.VaultConfig, credentials map[string]string) (key [sha256.Size]byte, err error) {
	for _, auth := range []*v1alpha1.PasswordAuth{config.Spec.Auth.UserPass, config.Spec.Auth.LDAP} {
		if auth == nil {
			continue
		}
		if _, err := cleanPath("username", auth.Username); err != nil || strings.Contains(auth.Username, "/") {
			return key, fault.Waiting(v1alpha1.ReasonInvalidSpec, "the user name is empty, or holds a slash or what cannot be printed; correct it (%s)", configName(config))
		}
	}
	encoded, err := json.Marshal([]any{config.Kind, config.Namespace, config.Name, config.Spec, credentials})
	if err != nil {
		return key, fault.Terminal(v1alpha1.ReasonInternal, "%s cannot be told from another", configName(config)) // the error may quote a value
	}
	return sha256.Sum256(encoded), nil
}

func (l *lent) borrow(
	s *Sessions, key [sha256.Size]byte, config *v1alpha1.VaultConfig, credentials map[string]string,
) (*loan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.byKey[key]; known != nil {
		known.users++
		return known, nil
	}
	own, err := NewSessions(Options{Reader: inMemory(func() map[string]string { return credentials }), Clock: s.clock, Timeout: s.timeout})
	if err != nil {
		return nil, err
	}
	own.allowed, own.unnamed = s.allowed, true
	session, err := own.session(config, nil)
	if err != nil {
		return nil, err
	}
	session.rejected = l.refused[key].rejection
	if l.byKey == nil {
		l.byKey, l.refused = map[[sha256.Size]byte]*loan{}, map[[sha256.Size]byte]refusal{}
	}
	l.byKey[key] = &loan{own: own, session: session, users: 1}
	return l.byKey[key], nil
}

func (l *lent) giveBack(key [sha256.Size]byte, borrowed *loan, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if borrowed.users--; borrowed.users > 0 {
		return
	}
	delete(l.byKey, key)
	borrowed.session.mu.Lock()
	rejected := borrowed.session.rejected
	borrowed.session.mu.Unlock()
	if rejected != nil && borrowed.session.method.ours() { // a token locks nobody out
		l.refused[key] = refusal{rejected, now}
	} else {
		delete(l.refused, key)
	}
	borrowed.own.Forget(borrowed.session.config.UID)
}

// forgetRefusals forgets the refused logins that nobody has asked for lately.
func (l *lent) forgetRefusals(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, refused := range l.refused {
		if now.Sub(refused.seen) >= idleTime {
			delete(l.refused, key)
		}
	}
}

// inMemory answers for any Secret with the same keys. It is a function, so that nothing can print it.
type inMemory func() map[string]string

// Get implements client.Reader.
func (m inMemory) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return errors.New("only Secrets are kept in memory")
	}
	secret.Data = map[string][]byte{}
	for key, value := range m() {
		secret.Data[key] = []byte(value)
	}
	return nil
}

// List implements client.Reader.
func (inMemory) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("what is kept in memory is not listed")
}

// Health asks Vault whether it is there at all: see Sessions.Health.
func (s *Session) Health(ctx context.Context) (Health, error) { return s.health(ctx) }
