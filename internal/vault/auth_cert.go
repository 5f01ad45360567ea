package vault

import (
	"context"
	"crypto/sha256"
	"crypto/tls"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// certMethod logs in with a TLS client certificate, by Vault's auth method cert.
type certMethod struct {
	loginMount
	role   string
	secret client.ObjectKey
}

func newCertMethod(config *v1alpha1.VaultConfig, auth *v1alpha1.CertAuth) (method, error) {
	m := &certMethod{role: auth.Role, secret: client.ObjectKey{Namespace: config.Namespace, Name: auth.ClientCertificateSecretRef.Name}}
	var err error
	m.loginMount, err = newLoginMount(config, "cert", m.label(), "cert", auth.Mount, auth.VaultNamespace)
	return m, err
}

func (m *certMethod) label() string {
	if m.role == "" {
		return "cert"
	}
	return "cert role " + m.role
}

func (m *certMethod) cure() string {
	return "put a certificate that the role accepts into Secret " + m.secret.String()
}

// credential is the certificate with its key, as PEM.
func (m *certMethod) credential(ctx context.Context, reader client.Reader) (credential, error) {
	as := configOf(m.as)
	var secret corev1.Secret
	if err := reader.Get(ctx, m.secret, &secret); err != nil {
		return credential{}, unread(err, "Secret", m.secret.Namespace, m.secret.Name, as)
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(secret.Data[key]) == 0 {
			return credential{}, keyMissing("Secret", m.secret.Namespace, m.secret.Name, key, as)
		}
	}
	// A line break between the two, should the first not end with one. The reader skips what is not of the kind it looks for.
	both := string(secret.Data[corev1.TLSCertKey]) + "\n" + string(secret.Data[corev1.TLSPrivateKeyKey])
	if _, err := tls.X509KeyPair([]byte(both), []byte(both)); err != nil { // the error says nothing of the key, and is still not handed on
		return credential{}, fault.Wait(v1alpha1.ReasonInvalidSpec,
			"Secret %s holds no certificate with its key (%s); put both there as PEM, tls.crt and tls.key of the same pair", m.secret, as)
	}
	return newCredential(both), nil
}

// login makes a connection that shows the certificate. The token is bound to it: Vault wants to see the certificate again when the
// token is renewed.
func (m *certMethod) login(ctx context.Context, l *link, c credential) (*grant, error) {
	both := []byte(c.secret.reveal())
	certificate, err := tls.X509KeyPair(both, both)
	if err != nil {
		return nil, fault.New(v1alpha1.ReasonInternal, "the client certificate cannot be used (%s)", m.as)
	}
	showing, err := l.showing(&clientCertificate{certificate: certificate, key: sha256.Sum256(both)})
	if err != nil {
		return nil, err
	}
	body := map[string]string{}
	if m.role != "" {
		body["name"] = m.role
	}
	granted, err := showing.login(ctx, m.loginMount, attempt{path: "login", probe: "login", harmless: true,
		body: func() map[string]string { return body }, diagnose: m.diagnose})
	if err != nil {
		return nil, err
	}
	granted.link = showing
	return granted, nil
}

func (m *certMethod) diagnose(a *answer) (problem, cure string) {
	role := "a role of the auth method at " + m.mount
	if m.role != "" {
		role = "role " + m.role
	}
	if a.says("tls connection required") || a.says("client certificate must be supplied") {
		return "Vault saw no client certificate", "connect to Vault itself and not through a proxy that ends TLS, and let its listener take client certificates"
	}
	return "Vault does not accept the client certificate",
		"let " + role + " accept it (certificate, allowed_common_names, …), correct " + m.field + ".role, or " + m.cure()
}
