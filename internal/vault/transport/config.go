package transport

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// HasExternalTLS tells whether the way to Vault depends on what is not in the spec.
func HasExternalTLS(config *v1alpha1.VaultConfig) bool {
	return config.Spec.CACertificateFrom != nil ||
		config.Spec.TLS != nil && config.Spec.TLS.ClientCertificateSecretRef != nil
}

// ReadConfig reads what a VaultConfig says of the way to its Vault, whose origin and proxy have been found to be
// allowed.
func ReadConfig(
	ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig, origin, proxy string,
) (Config, error) {
	found := Config{Origin: origin, Proxy: proxy}
	if config.Spec.TLS != nil {
		found.ServerName = config.Spec.TLS.ServerName
	}
	var err error
	if found.Trust, err = readTrust(ctx, reader, config); err != nil {
		return Config{}, err
	}
	found.ClientCertificate, err = readClientCertificate(ctx, reader, config)
	return found, err
}

// readTrust returns the certificate authorities that a VaultConfig trusts.
func readTrust(ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig) (Trust, error) {
	actor := SubjectOf(config).String()
	source := config.Spec.CACertificateFrom
	switch {
	case config.Spec.CACertificate != "":
		trusted, wrong := newTrust(config.Spec.CACertificate)
		if wrong != "" {
			return Trust{}, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.caCertificate: %s (%s)", wrong, actor).
				WithRemedy("paste the PEM certificate of the authority that signed Vault's")
		}
		return trusted, nil
	case source == nil:
		return publicTrust(), nil
	case source.SecretKeyRef != nil:
		value, err := ReadSecretKey(ctx, reader, config.Namespace, *source.SecretKeyRef, actor)
		return trustFrom(value, err, "Secret", config, source.SecretKeyRef.Name, source.SecretKeyRef.Key)
	case source.ConfigMapKeyRef != nil:
		value, err := readConfigMapKey(ctx, reader, config.Namespace, *source.ConfigMapKeyRef, actor)
		return trustFrom(value, err, "ConfigMap", config, source.ConfigMapKeyRef.Name, source.ConfigMapKeyRef.Key)
	}
	return Trust{}, fault.Terminal(v1alpha1.ReasonInvalidSpec,
		"spec.caCertificateFrom: names neither a ConfigMap nor a Secret (%s)", actor).WithRemedy("name one, or leave it out")
}

func trustFrom(value string, err error, kind string, config *v1alpha1.VaultConfig, name, key string) (Trust, error) {
	if err != nil {
		return Trust{}, err
	}
	trusted, wrong := newTrust(value)
	if wrong != "" {
		return Trust{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "spec.caCertificateFrom: %s %s/%s, key %q, %s (%s)",
			kind, config.Namespace, name, key, wrong, SubjectOf(config)).
			WithRemedy("put the PEM certificate of the authority that signed Vault's there")
	}
	return trusted, nil
}

// readClientCertificate returns the certificate that spec.tls names, nil if it names none.
func readClientCertificate(
	ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig,
) (*ClientCertificate, error) {
	if config.Spec.TLS == nil || config.Spec.TLS.ClientCertificateSecretRef == nil {
		return nil, nil
	}
	pair, err := ReadKeyPair(ctx, reader, "spec.tls.clientCertificateSecretRef",
		client.ObjectKey{
			Namespace: config.Namespace, Name: config.Spec.TLS.ClientCertificateSecretRef.Name,
		}, SubjectOf(config).String())
	if err != nil {
		return nil, err
	}
	return pair.Certificate, nil
}
