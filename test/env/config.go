package env

import (
	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// Config returns a VaultConfig with this server's address, and with the token in the Secret vault-token.
func (v *Vault) Config(namespace, name string, options ...func(*v1alpha1.VaultConfig)) *v1alpha1.VaultConfig {
	return builder.VaultConfig(namespace, name, builder.WithAddress(v.URL(), v.CACertificate()), builder.All(options...))
}
