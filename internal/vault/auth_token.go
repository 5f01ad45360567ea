package vault

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// tokenMethod uses a token that somebody put into a Secret.
type tokenMethod struct {
	namespaceOfSecret string
	ref               v1alpha1.SecretKeyReference
	as                string
}

func (m tokenMethod) label() string { return "token" }

// ours is false: the token belongs to whoever put it into the Secret.
func (m tokenMethod) ours() bool { return false }

func (m tokenMethod) namespace() string { return "" }

func (m tokenMethod) source() string {
	return secretKey(m.namespaceOfSecret, m.ref)
}

func (m tokenMethod) cure() string { return "put a new token into " + m.source() }

func (m tokenMethod) credential(ctx context.Context, reader client.Reader) (credential, error) {
	value, err := readWord(ctx, reader, m.namespaceOfSecret, m.ref, m.as, "Vault token")
	if err != nil {
		return credential{}, err
	}
	return newCredential(value), nil
}

// login has nothing to log in to: it asks Vault about the token.
func (m tokenMethod) login(ctx context.Context, l *link, c credential) (*grant, error) {
	info, err := l.lookup(ctx, c.secret, m.namespace(), m.as+", auth token", m.cure())
	if err != nil {
		return nil, err
	}
	return &grant{token: c.secret, info: info}, nil
}
