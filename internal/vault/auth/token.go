package auth

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/transport"
)

var _ = register(registration{
	name: "token",
	build: func(input Input) (Method, error) {
		return tokenMethod{source: input.Source, ref: input.Config.Spec.Auth.Token.SecretKeyRef}, nil
	},
	connection: &connectionForm{
		rank: 1, keys: []string{"token"},
		auth: func(_ func(string) string, _ v1alpha1.MountPath, secret v1alpha1.SecretKeyReference) v1alpha1.VaultAuth {
			return v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{SecretKeyRef: secret}}
		},
	},
})

// tokenMethod uses a token that somebody put into a Secret.
type tokenMethod struct {
	source Source
	ref    v1alpha1.SecretKeyReference
}

// Label implements Method.
func (tokenMethod) Label() string { return "token" }

// IssuesToken is false: the token belongs to whoever put it into the Secret.
func (tokenMethod) IssuesToken() bool { return false }

// Account implements Method: to look a token up locks nothing.
func (tokenMethod) Account() string { return "" }

// FurtherLogins implements Method.
func (tokenMethod) FurtherLogins(context.Context, *transport.Conn, *LoginResult, Credential) Logins {
	return Logins{}
}

// Namespace implements Method.
func (tokenMethod) Namespace() string { return "" }

// Remedy implements Method.
func (m tokenMethod) Remedy() string { return "put a new token into " + m.source.key(m.ref) }

// ReadCredential implements Method.
func (m tokenMethod) ReadCredential(ctx context.Context, reader client.Reader) (Credential, error) {
	value, err := readWord(ctx, reader, m.source, m.ref, "Vault token")
	if err != nil {
		return Credential{}, err
	}
	return NewCredential(value), nil
}

// Login has nothing to log in to: it asks Vault about the token.
func (m tokenMethod) Login(ctx context.Context, conn *transport.Conn, c Credential) (*LoginResult, error) {
	info, err := LookUp(ctx, conn, c.Secret, m.Namespace(), m.source.actor(m.Label()), m.Remedy())
	if err != nil {
		return nil, err
	}
	return &LoginResult{Token: c.Secret, Info: info}, nil
}
