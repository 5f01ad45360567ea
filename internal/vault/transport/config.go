package transport

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
)

// ReadsObjects tells whether the way to Vault depends on what is not in the spec.
func ReadsObjects(config *v1alpha1.VaultConfig) bool {
	return config.Spec.CACertificateFrom != nil ||
		config.Spec.TLS != nil && config.Spec.TLS.ClientCertificateSecretRef != nil ||
		slices.ContainsFunc(config.Spec.Headers, func(h v1alpha1.VaultHeader) bool { return h.SecretKeyRef != nil })
}

// ReadConfig reads what a VaultConfig says of the way to its Vault, whose address and proxy have been found to be
// allowed.
func ReadConfig(
	ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig, address, proxy string,
) (Config, error) {
	found := Config{Address: address, Proxy: proxy}
	if config.Spec.TLS != nil {
		found.ServerName = config.Spec.TLS.ServerName
	}
	var err error
	if found.Trust, err = readTrust(ctx, reader, config); err != nil {
		return Config{}, err
	}
	if found.Headers, err = readHeaders(ctx, reader, config); err != nil {
		return Config{}, err
	}
	found.ClientCertificate, err = readClientCertificate(ctx, reader, config)
	return found, err
}

// readHeaders returns the headers of a VaultConfig.
func readHeaders(ctx context.Context, reader client.Reader, config *v1alpha1.VaultConfig) (Headers, error) {
	actor := SubjectOf(config).String()
	list := make([]header, 0, len(config.Spec.Headers))
	for _, one := range config.Spec.Headers {
		if !one.MayBeSent() {
			remedy := "leave it out"
			if strings.EqualFold(one.Name, "X-Vault-Token") {
				remedy = "leave it out, for it is the login's: name the Secret with the token in auth.token"
			}
			return Headers{}, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.headers: %s may not be sent (%s)",
				printable.Quote(one.Name), actor).WithRemedy("%s", remedy)
		}
		text := one.Value
		if ref := one.SecretKeyRef; ref != nil {
			value, err := ReadSecretKey(ctx, reader, config.Namespace, *ref, actor)
			if err != nil {
				return Headers{}, err
			}
			text = strings.TrimSpace(value)
			unfit := func(reason, problem, remedy string) (Headers, error) {
				return Headers{}, fault.Waiting(reason, "spec.headers: Secret %s/%s, key %q, %s (%s)",
					config.Namespace, ref.Name, ref.Key, problem, actor).WithRemedy("%s", remedy)
			}
			switch {
			case text == "":
				return unfit(v1alpha1.ReasonCredentialMissing, "is empty", "put the text of the header there")
			case len(text) > v1alpha1.MaxHeaderText:
				return unfit(v1alpha1.ReasonInvalidSpec, fmt.Sprintf("holds more than %d bytes", v1alpha1.MaxHeaderText),
					"put the text of the header alone there")
			// Such a text could not be sent, or would be two headers.
			case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f }):
				return unfit(v1alpha1.ReasonInvalidSpec, "holds characters that a header cannot have",
					"put the text of the header alone there, on one line")
			}
		}
		list = append(list, header{name: one.Name, text: NewToken(text)})
	}
	return newHeaders(list), nil
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
