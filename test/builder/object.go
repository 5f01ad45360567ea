package builder

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func apply[T any](object *T, options []func(*T)) *T {
	for _, option := range options {
		option(object)
	}
	return object
}

// All makes one option of several.
func All[T any](options ...func(*T)) func(*T) {
	return func(object *T) { apply(object, options) }
}

// Secret returns a Secret. It sets data, not stringData, which only a real API server turns into data.
func Secret(namespace, name string, data map[string]string) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
	for key, value := range data {
		secret.Data[key] = []byte(value)
	}
	return secret
}

// TokenSecret returns a Secret that holds a Vault token where VaultConfigs look for it.
func TokenSecret(namespace, name, token string) *corev1.Secret {
	return Secret(namespace, name, map[string]string{TokenSecretKey: token})
}
