package session

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// ephemeralPool holds the sessions whose credentials are in memory only.
type ephemeralPool struct {
	environment *environment // of the sessions that have an object
	// secretIDs that wrapping tokens gave outlive the sessions: a wrapping token gives its own once.
	secretIDs *auth.SecretIDs

	mu    sync.Mutex
	byKey map[[sha256.Size]byte]*entry
}

type entry struct {
	own     *sessionSet
	session *Session
	users   int
}

func newEphemeralPool(env *environment) *ephemeralPool {
	return &ephemeralPool{environment: env, secretIDs: auth.NewSecretIDs(), byKey: map[[sha256.Size]byte]*entry{}}
}

// ephemeralKey tells one login from another. It stays in memory.
func ephemeralKey(config *v1alpha1.VaultConfig, credentials map[string]string) (key [sha256.Size]byte, err error) {
	encoded, err := json.Marshal([]any{
		config.Kind, config.Namespace, config.Name, config.UID, config.Spec, credentials,
	})
	if err != nil { // the error may quote a value
		return key, about(
			fault.Terminal(v1alpha1.ReasonInternal, "%s cannot be told from another", transport.SubjectOf(config)), config,
		)
	}
	return sha256.Sum256(encoded), nil
}

func (p *ephemeralPool) acquire(
	key [sha256.Size]byte, config *v1alpha1.VaultConfig, credentials map[string]string,
) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.byKey[key]; known != nil {
		known.users++
		return known, nil
	}
	env := p.environment.apart()
	env.reader = inMemory(func() map[string]string { return credentials })
	env.source, env.leading = auth.FromConnectionKeys, func() bool { return true }
	env.secretIDs = p.secretIDs.Of(config.Namespace, config.UID, WayTo(config))
	own := newSessionSet(env)
	session, err := own.session(config, nil)
	if err != nil {
		return nil, err
	}
	p.byKey[key] = &entry{own: own, session: session, users: 1}
	return p.byKey[key], nil
}

func (p *ephemeralPool) release(key [sha256.Size]byte, released *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if released.users--; released.users > 0 {
		return
	}
	delete(p.byKey, key)
	released.own.forget(released.session.holder.config.UID)
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
