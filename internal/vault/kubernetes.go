package vault

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// What VaultConfigs refer to is a role of its own, so that it can be given for chosen namespaces only: config/namespaced.
// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get,roleName=sallyport-credentials
// +kubebuilder:rbac:groups="",resources=serviceaccounts/token,verbs=create,roleName=sallyport-credentials

// readSecretKey returns one key of a Secret. A missing Secret or key is a fault CredentialMissing; a failure of the
// Kubernetes API is a fault Internal.
func readSecretKey(
	ctx context.Context, reader client.Reader, namespace string, ref v1alpha1.SecretKeyReference, as string,
) (string, error) {
	var secret corev1.Secret
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &secret)
	if err != nil {
		return "", unread(err, "Secret", namespace, ref.Name, as)
	}
	value, found := secret.Data[ref.Key]
	if !found {
		return "", keyMissing("Secret", namespace, ref.Name, ref.Key, as)
	}
	return string(value), nil
}

// readWord is readSecretKey for what is one word, such as a token: white space around it is left out, for kubectl create secret
// --from-file and most editors leave a line break at the end, and none may be in it.
func readWord(
	ctx context.Context, reader client.Reader, namespace string, ref v1alpha1.SecretKeyReference, as, what string,
) (string, error) {
	value, err := readSecretKey(ctx, reader, namespace, ref, as)
	if err != nil {
		return "", err
	}
	value = strings.TrimSpace(value)
	if value == "" {
		return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s is empty (%s); put a %s there", secretKey(namespace, ref), as, what)
	}
	// A token like that could not be sent as a header, and the error for that would print it.
	if !isWord(value) {
		return "", fault.Waiting(v1alpha1.ReasonInvalidSpec,
			"%s holds white space or characters that a %s cannot have (%s); put the %s alone there",
			secretKey(namespace, ref), what, as, strings.TrimPrefix(what, "Vault "))
	}
	return value, nil
}

func isWord(value string) bool {
	return value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// secretKey is how sentences call a key of a Secret.
func secretKey(namespace string, ref v1alpha1.SecretKeyReference) string {
	return fmt.Sprintf("Secret %s/%s, key %q", namespace, ref.Name, ref.Key)
}

// readConfigMapKey is readSecretKey for a ConfigMap.
func readConfigMapKey(
	ctx context.Context, reader client.Reader, namespace string, ref v1alpha1.ConfigMapKeyReference, as string,
) (string, error) {
	var configMap corev1.ConfigMap
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &configMap)
	if err != nil {
		return "", unread(err, "ConfigMap", namespace, ref.Name, as)
	}
	value, found := configMap.Data[ref.Key]
	if !found {
		return "", keyMissing("ConfigMap", namespace, ref.Name, ref.Key, as)
	}
	return value, nil
}

func unread(err error, kind, namespace, name, as string) error {
	switch {
	case apierrors.IsNotFound(err):
		return fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s %s/%s does not exist (%s); create it", kind, namespace, name, as)
	case apierrors.IsForbidden(err):
		return fault.Waiting(v1alpha1.ReasonCredentialMissing, "Sallyport may not get %s %s/%s (%s); bind the ClusterRole sallyport-credentials "+
			"to its service account in namespace %s", kind, namespace, name, as, namespace)
	}
	return fault.Transient(v1alpha1.ReasonInternal, "reading %s %s/%s (%s): %v", kind, namespace, name, as, err)
}

func keyMissing(kind, namespace, name, key, as string) error {
	return fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s %s/%s has no key %q (%s); add it", kind, namespace, name, key, as)
}

// readTrust returns the certificate authorities that a VaultConfig trusts.
func readTrust(ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig) (trust, error) {
	as := configName(config)
	source := config.Spec.CACertificateFrom
	switch {
	case config.Spec.CACertificate != "":
		trusted, problem := newTrust(config.Spec.CACertificate)
		if problem != "" {
			return trust{}, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.caCertificate: %s (%s); "+
				"paste the PEM certificate of the authority that signed Vault's", problem, as)
		}
		return trusted, nil
	case source == nil:
		return publicTrust(), nil
	case source.SecretKeyRef != nil:
		value, err := readSecretKey(ctx, reader, config.Namespace, *source.SecretKeyRef, as)
		return trustFrom(value, err, "Secret", config, source.SecretKeyRef.Name, source.SecretKeyRef.Key)
	case source.ConfigMapKeyRef != nil:
		value, err := readConfigMapKey(ctx, reader, config.Namespace, *source.ConfigMapKeyRef, as)
		return trustFrom(value, err, "ConfigMap", config, source.ConfigMapKeyRef.Name, source.ConfigMapKeyRef.Key)
	}
	return trust{}, fault.Terminal(v1alpha1.ReasonInvalidSpec,
		"spec.caCertificateFrom: names neither a ConfigMap nor a Secret (%s); name one, or leave it out", as)
}

func trustFrom(value string, err error, kind string, config *v1alpha1.VaultConfig, name, key string) (trust, error) {
	if err != nil {
		return trust{}, err
	}
	trusted, problem := newTrust(value)
	if problem != "" {
		return trust{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "spec.caCertificateFrom: %s %s/%s, key %q, %s (%s); "+
			"put the PEM certificate of the authority that signed Vault's there",
			kind, config.Namespace, name, key, problem, configName(config))
	}
	return trusted, nil
}

// readClientCertificate returns the certificate that spec.tls names, nil if it names none.
func readClientCertificate(ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig) (*clientCertificate, error) {
	if config.Spec.TLS == nil || config.Spec.TLS.ClientCertificateSecretRef == nil {
		return nil, nil
	}
	pair, err := readKeyPair(ctx, reader, "spec.tls.clientCertificateSecretRef",
		client.ObjectKey{Namespace: config.Namespace, Name: config.Spec.TLS.ClientCertificateSecretRef.Name}, configName(config))
	if err != nil {
		return nil, err
	}
	return pair.parsed, nil
}

// keyPair is a certificate and its key, from a Secret of type kubernetes.io/tls.
type keyPair struct {
	// pem holds both; it is a function, so that nothing can print them.
	pem    func() string
	parsed *clientCertificate
}

// readKeyPair returns what a Secret holds that a field of the spec names.
func readKeyPair(ctx context.Context, reader client.Reader, field string, key client.ObjectKey, as string) (keyPair, error) {
	var secret corev1.Secret
	if err := reader.Get(ctx, key, &secret); err != nil {
		return keyPair{}, unread(err, "Secret", key.Namespace, key.Name, as)
	}
	for _, name := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[name]) == 0 {
			return keyPair{}, keyMissing("Secret", key.Namespace, key.Name, name, as)
		}
	}
	parsed, problem := newClientCertificate(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if problem != "" {
		return keyPair{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s: Secret %s %s (%s); put both there as PEM, tls.crt and tls.key of the same pair",
			field, key, problem, as)
	}
	// A line break between the two, should the first not end with one. A reader of PEM skips what is not of the kind it looks for.
	both := string(secret.Data[corev1.TLSCertKey]) + "\n" + string(secret.Data[corev1.TLSPrivateKeyKey])
	return keyPair{pem: func() string { return both }, parsed: parsed}, nil
}
