package vault

import (
	"context"
	"crypto/sha256"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// method is one way to authenticate to Vault.
type method interface {
	// name of the method as in spec.auth, for sentences.
	name() string
	// credential reads from Kubernetes what the method logs in with.
	credential(ctx context.Context, reader client.Reader) (credential, error)
	// login turns a credential into a token and says what Vault knows of it. A fault AuthFailed means that Vault will
	// not accept this credential the next time either.
	login(ctx context.Context, l *link, c credential) (token, TokenInfo, error)
	// cure of a credential that Vault does not accept, for sentences.
	cure() string
}

// credential is what a method logs in with.
type credential struct {
	secret token
	// fingerprint tells whether it changed, and lets a rejected credential be remembered without being kept. It stays in
	// memory.
	fingerprint [sha256.Size]byte
}

func newCredential(secret string) credential {
	return credential{secret: newToken(secret), fingerprint: sha256.Sum256([]byte(secret))}
}

func methodOf(config *v1alpha1.VaultConfig) (method, error) {
	if auth := config.Spec.Auth.Token; auth != nil {
		return tokenMethod{namespace: config.Namespace, ref: auth.SecretKeyRef, as: configName(config)}, nil
	}
	return nil, fault.Invalid(v1alpha1.ReasonInvalidSpec, "spec.auth: no method is set; set spec.auth.token (%s)", configName(config))
}
