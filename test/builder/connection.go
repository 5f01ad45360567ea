package builder

import (
	"encoding/json"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Connection returns a Connection of type "test" with a value and no attached secrets.
func Connection(namespace, name string, value map[string]any, options ...func(*v1alpha1.Connection)) *v1alpha1.Connection {
	connection := &v1alpha1.Connection{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ConnectionSpec{Type: "test", Value: JSON(value)},
	}
	return apply(connection, options)
}

// VaultSecret is an attached secret at a path, read with the VaultConfig "main"; its name may be empty.
func VaultSecret(name, path string) v1alpha1.VaultSecret {
	return v1alpha1.VaultSecret{Name: name, VaultConfigRef: v1alpha1.VaultConfigReference{Name: ConfigName}, SecretPath: path}
}

// WithSecret attaches the secret at a path, without a name.
func WithSecret(path string) func(*v1alpha1.Connection) { return WithSecrets(VaultSecret("", path)) }

// WithSecrets attaches more secrets.
func WithSecrets(secrets ...v1alpha1.VaultSecret) func(*v1alpha1.Connection) {
	return func(c *v1alpha1.Connection) { c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, secrets...) }
}

// WithFiles sets the files.
func WithFiles(files ...v1alpha1.ConnectionFile) func(*v1alpha1.Connection) {
	return func(c *v1alpha1.Connection) { c.Spec.Files = files }
}

// WithType sets the type.
func WithType(name string) func(*v1alpha1.Connection) {
	return func(c *v1alpha1.Connection) { c.Spec.Type = name }
}

// WithRefreshInterval sets the refresh interval.
func WithRefreshInterval(interval time.Duration) func(*v1alpha1.Connection) {
	return func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: interval} }
}

// WithShortestRefresh sets the shortest refresh interval that the API allows.
func WithShortestRefresh(c *v1alpha1.Connection) { WithRefreshInterval(5 * time.Second)(c) }

// JSON encodes each member of an object, as the value of a Connection holds them. It panics for what is no JSON.
func JSON(value map[string]any) map[string]apiextensionsv1.JSON {
	encoded := map[string]apiextensionsv1.JSON{}
	for key, v := range value {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		encoded[key] = apiextensionsv1.JSON{Raw: raw}
	}
	return encoded
}
