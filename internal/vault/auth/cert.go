package auth

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

var _ = register(registration{name: "cert", build: newCertMethod})

// certMethod logs in with a TLS client certificate, by Vault's auth method cert.
type certMethod struct {
	loginMount
	role   string
	secret client.ObjectKey
}

func newCertMethod(input Input) (Method, error) {
	auth := input.Config.Spec.Auth.Cert
	m := &certMethod{
		role:   auth.Role,
		secret: client.ObjectKey{Namespace: input.Config.Namespace, Name: auth.ClientCertificateSecretRef.Name},
	}
	var err error
	m.loginMount, err = newLoginMount(input.Source, "cert", m.Label(), "cert", auth.Mount, auth.VaultNamespace)
	return m, err
}

// Label implements Method.
func (m *certMethod) Label() string {
	if m.role == "" {
		return "cert"
	}
	return "cert role " + m.role
}

// Remedy implements Method.
func (m *certMethod) Remedy() string {
	return "put a certificate that the role accepts into Secret " + m.secret.String()
}

// ReadCredential returns the certificate with its key, as PEM.
func (m *certMethod) ReadCredential(ctx context.Context, reader client.Reader) (Credential, error) {
	pair, err := transport.ReadKeyPair(ctx, reader, m.field("clientCertificateSecretRef"), m.secret, m.config())
	if err != nil {
		return Credential{}, err
	}
	return NewCredential(pair.PEM.Reveal()), nil
}

// Login makes a connection that shows the certificate. The token is bound to it: Vault wants to see the certificate
// again when the token is renewed.
func (m *certMethod) Login(ctx context.Context, conn *transport.Conn, c Credential) (*LoginResult, error) {
	both := []byte(c.Secret.Reveal())
	certificate, wrong := transport.NewClientCertificate(both, both)
	if wrong != "" {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the client certificate cannot be used (%s)", m.actor)
	}
	bound, err := conn.WithClientCertificate(certificate)
	if err != nil {
		return nil, err
	}
	body := map[string]string{}
	if m.role != "" {
		body["name"] = m.role
	}
	result, err := m.send(ctx, bound, loginRequest{
		path: "login", probe: "login", body: func() map[string]string { return body }, diagnose: m.diagnose,
	})
	if err != nil {
		return nil, err
	}
	result.Conn = bound
	return result, nil
}

func (m *certMethod) diagnose(response *transport.Response) (problem, remedy string) {
	role := "a role of the auth method at " + m.mount
	if m.role != "" {
		role = "role " + m.role
	}
	if response.Says("tls connection required") || response.Says("client certificate must be supplied") {
		return "Vault saw no client certificate",
			"connect to Vault itself and not through a proxy that ends TLS, and let its listener take client certificates"
	}
	return "Vault does not accept the client certificate",
		"let " + role + " accept it (certificate, allowed_common_names, …), correct " + m.field("role") + ", or " + m.Remedy()
}
