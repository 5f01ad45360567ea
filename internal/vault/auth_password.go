package vault

import (
	"context"
	"net/http"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// passwordMethod logs in with a user name and a password, by Vault's auth methods userpass and ldap.
type passwordMethod struct {
	loginMount
	kind              string
	username          string
	unnamed           bool // no sentence says the user name
	namespaceOfSecret string
	ref               v1alpha1.SecretKeyReference
}

func newPasswordMethod(kind string, config *v1alpha1.VaultConfig, auth *v1alpha1.PasswordAuth) (method, error) {
	mount, err := newLoginMount(config, kind, kind+" user "+auth.Username, strings.ToLower(kind), auth.Mount, auth.VaultNamespace)
	m := &passwordMethod{loginMount: mount, kind: kind, namespaceOfSecret: config.Namespace, ref: auth.PasswordSecretKeyRef}
	if err != nil {
		return m, err
	}
	if m.username, err = cleanPath("username", auth.Username); err != nil {
		return m, err
	}
	if strings.Contains(auth.Username, "/") {
		return m, fault.Terminal(v1alpha1.ReasonInvalidSpec, "username %q: holds a slash; leave it out (%s)", auth.Username, m.as)
	}
	return m, nil
}

// unname leaves the user name out of sentences.
func (m *passwordMethod) unname(config *v1alpha1.VaultConfig) {
	m.unnamed = true
	m.as = configName(config) + ", auth " + m.label()
}

func (m *passwordMethod) label() string {
	if m.unnamed {
		return m.kind
	}
	return m.kind + " user " + m.username
}

func (m *passwordMethod) source() string { return secretKey(m.namespaceOfSecret, m.ref) }

func (m *passwordMethod) cure() string { return "put the right password into " + m.source() }

// credential takes the password as it is, but for one line break at the end, which kubectl create secret --from-file and most
// editors leave: white space may belong to a password.
func (m *passwordMethod) credential(ctx context.Context, reader client.Reader) (credential, error) {
	value, err := readSecretKey(ctx, reader, m.namespaceOfSecret, m.ref, configOf(m.as))
	if err != nil {
		return credential{}, err
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	switch {
	case value == "":
		return credential{}, fault.Waiting(v1alpha1.ReasonCredentialMissing, "%s is empty (%s); put the password there", m.source(), configOf(m.as))
	case strings.ContainsAny(value, "\r\n\x00"):
		return credential{}, fault.Waiting(v1alpha1.ReasonInvalidSpec,
			"%s holds more than one line (%s); put the password alone there", m.source(), configOf(m.as))
	}
	return newCredential(value), nil
}

func (m *passwordMethod) login(ctx context.Context, l *link, c credential) (*grant, error) {
	shown := ""
	if m.unnamed {
		shown = "login/…"
	}
	granted, err := l.login(ctx, m.loginMount, attempt{
		path: "login/" + m.username, probe: "login/" + m.username + "-sallyport", // another user: this one may be locked
		shown: shown,
		body:  func() map[string]string { return map[string]string{"password": c.secret.reveal()} },
		// Vault locks a user after five wrong passwords, and an LDAP server may do so too.
		harmless: false,
		diagnose: m.diagnose,
	})
	if m.kind == "ldap" && fault.Is(err, v1alpha1.ReasonVaultError) {
		return nil, fault.From(err).WithRemedy("Vault's own log says more, and whether it reaches its LDAP server")
	}
	return granted, err
}

func (m *passwordMethod) diagnose(a *answer) (problem, cure string) {
	const again = "; it is not tried again until that or the spec changes"
	if a.status == http.StatusForbidden {
		return "the user is locked after too many wrong passwords, or may not log in from here",
			"unlock it (sys/locked-users) or wait, and put the right password into " + m.source() + "; it is tried again now and then"
	}
	if m.kind == "ldap" && a.says("operation failed") {
		return "the LDAP server does not accept user and password, or Vault's way to it is wrong",
			m.cure() + ", or correct " + m.field + ".username or auth/" + m.mount + "/config" + again
	}
	return "wrong user name or password", m.cure() + ", or correct " + m.field + ".username" + again
}

// configOf is the name of the VaultConfig in what sentences call a login.
func configOf(as string) string {
	name, _, _ := strings.Cut(as, ", auth ")
	return name
}
