package vault

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Ephemeral returns a session for a Vault whose credentials are in memory only, logged in: every Secret key that the config refers to
// is taken from credentials. Nothing of it is kept; close ends its connections.
func (s *Sessions) Ephemeral(
	ctx context.Context, config *v1alpha1.VaultConfig, credentials map[string]string,
) (session *Session, closeSession func(), err error) {
	own, err := NewSessions(Options{Reader: inMemory(credentials), Clock: s.clock, Timeout: s.timeout})
	if err != nil {
		return nil, nil, err
	}
	own.allowed = s.allowed
	closeSession = func() { own.Forget(config.UID) }
	session, err = own.For(ctx, config)
	if err != nil {
		closeSession()
		return nil, nil, err
	}
	return session, closeSession, nil
}

// inMemory answers for any Secret with the same keys.
type inMemory map[string]string

// Get implements client.Reader.
func (m inMemory) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return errors.New("only Secrets are kept in memory")
	}
	secret.Data = make(map[string][]byte, len(m))
	for key, value := range m {
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
