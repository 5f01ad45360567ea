package vault

import (
	"context"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// tokenMethod uses a token that somebody put into a Secret.
type tokenMethod struct {
	namespace string
	ref       v1alpha1.SecretKeyReference
	as        string
}

func (m tokenMethod) name() string { return "token" }

func (m tokenMethod) source() string {
	return fmt.Sprintf("Secret %s/%s, key %q", m.namespace, m.ref.Name, m.ref.Key)
}

func (m tokenMethod) cure() string { return "put a new token into " + m.source() }

func (m tokenMethod) credential(ctx context.Context, reader client.Reader) (credential, error) {
	value, err := readSecretKey(ctx, reader, m.namespace, m.ref, m.as)
	if err != nil {
		return credential{}, err
	}
	// kubectl create secret --from-file and most editors leave a line break at the end.
	value = strings.TrimSpace(value)
	if value == "" {
		return credential{}, fault.Wait(v1alpha1.ReasonCredentialMissing, "%s is empty (%s); put a Vault token there", m.source(), m.as)
	}
	// Such a token could not be sent as a header, and the error for that would print it.
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return credential{}, fault.Wait(v1alpha1.ReasonInvalidSpec,
			"%s holds white space or characters that a Vault token cannot have (%s); put the token alone there", m.source(), m.as)
	}
	return newCredential(value), nil
}

// login has nothing to log in to: it asks Vault about the token.
func (m tokenMethod) login(ctx context.Context, l *link, c credential) (token, TokenInfo, error) {
	info, err := l.lookup(ctx, c.secret, m.as+", auth token", m.cure())
	return c.secret, info, err
}
