package builder

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// The names in base objects.
const (
	// ConfigName is the VaultConfig that Connections and VaultTasks refer to.
	ConfigName = "main"
	// TokenSecretName is the Secret that VaultConfigs take their token from, in the key TokenSecretKey.
	TokenSecretName = "vault-token"
	// TokenSecretKey is that Secret's key.
	TokenSecretKey = "token"
	// EnginePath is the KV version 2 engine that VaultConfigs name.
	EnginePath = "secret"
)

// VaultConfig returns a VaultConfig with token authentication from the Secret vault-token; its address leads nowhere.
func VaultConfig(namespace, name string, options ...func(*v1alpha1.VaultConfig)) *v1alpha1.VaultConfig {
	config := &v1alpha1.VaultConfig{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.VaultConfigSpec{
			URL:        "https://vault.example.com:8200",
			EnginePath: EnginePath,
			Auth:       TokenAuth(TokenSecretName),
		},
	}
	return apply(config, options)
}

// TokenAuth is authentication with the token in a Secret's key "token".
func TokenAuth(secret string) v1alpha1.VaultAuth {
	return v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: secret, Key: TokenSecretKey}}}
}

// WithAddress sets Vault's URL and the PEM certificate of the authority that signed its certificate.
func WithAddress(url, caCertificate string) func(*v1alpha1.VaultConfig) {
	return func(c *v1alpha1.VaultConfig) { c.Spec.URL, c.Spec.CACertificate = url, caCertificate }
}

// WithURL sets Vault's URL alone.
func WithURL(url string) func(*v1alpha1.VaultConfig) {
	return func(c *v1alpha1.VaultConfig) { c.Spec.URL = url }
}

// WithAuth replaces the token authentication.
func WithAuth(auth v1alpha1.VaultAuth) func(*v1alpha1.VaultConfig) {
	return func(c *v1alpha1.VaultConfig) { c.Spec.Auth = auth }
}

// WithTokenSecret takes the token from another Secret.
func WithTokenSecret(name string) func(*v1alpha1.VaultConfig) { return WithAuth(TokenAuth(name)) }
