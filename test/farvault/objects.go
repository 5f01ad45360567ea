package farvault

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// Objects are a Connection with secrets of the Vault, and what leads there, as an informer's cache has them: each
// caller gets a copy.
type Objects struct {
	client.Reader
	Connection *v1alpha1.Connection
	config     *v1alpha1.VaultConfig
	token      *corev1.Secret
}

// NewObjects returns those of the Vault that Start started.
func NewObjects(url, certificate string) Objects {
	return Objects{
		Connection: builder.Connection("shop", "db", map[string]any{
			"user": "vault.secret(user)", "password": "vault.secret(password)", "host": "db.example.com", "port": 5432,
		}, builder.WithSecret("shop/db"), func(c *v1alpha1.Connection) { c.UID, c.Generation, c.ResourceVersion = "uid-db", 1, "7" }),
		config: builder.VaultConfig("shop", builder.ConfigName, builder.WithAddress(url, certificate),
			func(c *v1alpha1.VaultConfig) { c.UID, c.Generation = "uid-main", 1 }),
		token: builder.TokenSecret("shop", builder.TokenSecretName, "token"),
	}
}

// Get implements client.Reader.
func (o Objects) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	switch into := object.(type) {
	case *v1alpha1.Connection:
		o.Connection.DeepCopyInto(into)
	case *v1alpha1.VaultConfig:
		o.config.DeepCopyInto(into)
	case *corev1.Secret:
		o.token.DeepCopyInto(into)
	default:
		return errors.New("not there")
	}
	return nil
}
