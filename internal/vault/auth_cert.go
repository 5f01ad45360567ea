package vault

import (
	"context"

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
	pair, err := readKeyPair(ctx, reader, m.field+".clientCertificateSecretRef", m.secret, configOf(m.as))
	if err != nil {
		return credential{}, err
	}
	return newCredential(pair.pem()), nil
}

// login makes a connection that shows the certificate. The token is bound to it: Vault wants to see the certificate again when the
// token is renewed.
func (m *certMethod) login(ctx context.Context, l *link, c credential) (*grant, error) {
	both := []byte(c.secret.reveal())
	certificate, problem := newClientCertificate(both, both)
	if problem != "" {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the client certificate cannot be used (%s)", m.as)
	}
	showing, err := l.showing(certificate)
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
