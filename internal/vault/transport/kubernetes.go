package transport

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// What VaultConfigs refer to is a role of its own, so that it can be given for chosen namespaces only:
// config/namespaced.
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get,roleName=sallyport-credentials
// +kubebuilder:rbac:groups="",resources=serviceaccounts/token,verbs=create,roleName=sallyport-credentials

// ReadSecretKey returns one key of a Secret. A missing Secret or key is a fault CredentialMissing; a failure of the
// Kubernetes API is a fault Internal.
func ReadSecretKey(
	ctx context.Context, reader client.Reader, namespace string, ref v1alpha1.SecretKeyReference, actor string,
) (string, error) {
	var secret corev1.Secret
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &secret)
	if err != nil {
		return "", unreadable(err, "Secret", namespace, ref.Name, actor)
	}
	value, found := secret.Data[ref.Key]
	if !found {
		return "", keyMissing("Secret", namespace, ref.Name, ref.Key, actor)
	}
	return string(value), nil
}

// readConfigMapKey is ReadSecretKey for a ConfigMap.
func readConfigMapKey(
	ctx context.Context, reader client.Reader, namespace string, ref v1alpha1.ConfigMapKeyReference, actor string,
) (string, error) {
	var configMap corev1.ConfigMap
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &configMap)
	if err != nil {
		return "", unreadable(err, "ConfigMap", namespace, ref.Name, actor)
	}
	value, found := configMap.Data[ref.Key]
	if !found {
		return "", keyMissing("ConfigMap", namespace, ref.Name, ref.Key, actor)
	}
	return value, nil
}

// KeyPair is a certificate and its key, from a Secret of type kubernetes.io/tls.
type KeyPair struct {
	// PEM holds both.
	PEM         Token
	Certificate *ClientCertificate
}

// ReadKeyPair returns what a Secret holds that a field of the spec names.
func ReadKeyPair(
	ctx context.Context, reader client.Reader, field string, key client.ObjectKey, actor string,
) (KeyPair, error) {
	var secret corev1.Secret
	if err := reader.Get(ctx, key, &secret); err != nil {
		return KeyPair{}, unreadable(err, "Secret", key.Namespace, key.Name, actor)
	}
	for _, name := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[name]) == 0 {
			return KeyPair{}, keyMissing("Secret", key.Namespace, key.Name, name, actor)
		}
	}
	certificate, wrong := NewClientCertificate(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if wrong != "" {
		return KeyPair{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s: Secret %s %s (%s)", field, key, wrong, actor).
			WithRemedy("put both there as PEM, tls.crt and tls.key of the same pair")
	}
	// A line break between the two, should the first not end with one. A reader of PEM skips what is not of the kind it
	// looks for.
	both := string(secret.Data[corev1.TLSCertKey]) + "\n" + string(secret.Data[corev1.TLSPrivateKeyKey])
	return KeyPair{PEM: NewToken(both), Certificate: certificate}, nil
}

func unreadable(err error, kind, namespace, name, actor string) error {
	switch {
	case apierrors.IsNotFound(err):
		return fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s %s/%s does not exist (%s)", kind, namespace, name, actor).
			WithRemedy("create it")
	case apierrors.IsForbidden(err):
		return fault.Waiting(
			v1alpha1.ReasonCredentialMissing, "Sallyport may not get %s %s/%s (%s)", kind, namespace, name, actor,
		).
			WithRemedy("bind the ClusterRole sallyport-credentials to its service account in namespace %s", namespace)
	}
	return fault.Transient(v1alpha1.ReasonInternal, "reading %s %s/%s (%s): %v", kind, namespace, name, actor, err)
}

func keyMissing(kind, namespace, name, key, actor string) error {
	return fault.Waiting(
		v1alpha1.ReasonCredentialMissing, "%s %s/%s has no key %q (%s)", kind, namespace, name, key, actor,
	).
		WithRemedy("add it")
}
