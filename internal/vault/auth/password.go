package auth

import (
	"context"
	"net/http"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

const ldap = "ldap"

var _ = register(registration{
	name: "userPass",
	build: func(input Input) (Method, error) {
		return newPasswordMethod("userPass", input, input.Config.Spec.Auth.UserPass)
	},
	connection: &connectionForm{
		rank: 2, keys: []string{"username", "password"}, authMethod: "userpass", mountable: true, check: checkUsername,
		auth: func(
			text func(string) string, mount v1alpha1.MountPath, secret v1alpha1.SecretKeyReference,
		) v1alpha1.VaultAuth {
			return v1alpha1.VaultAuth{UserPass: passwordAuth(text, mount, secret)}
		},
	},
})

var _ = register(registration{
	name: ldap,
	build: func(input Input) (Method, error) {
		return newPasswordMethod(ldap, input, input.Config.Spec.Auth.LDAP)
	},
	connection: &connectionForm{
		rank: 3, keys: []string{"username", "password"}, authMethod: ldap, mountable: true, check: checkUsername,
		auth: func(
			text func(string) string, mount v1alpha1.MountPath, secret v1alpha1.SecretKeyReference,
		) v1alpha1.VaultAuth {
			return v1alpha1.VaultAuth{LDAP: passwordAuth(text, mount, secret)}
		},
	},
})

func passwordAuth(
	text func(string) string, mount v1alpha1.MountPath, secret v1alpha1.SecretKeyReference,
) *v1alpha1.PasswordAuth {
	return &v1alpha1.PasswordAuth{Mount: mount, Username: text("username"), PasswordSecretKeyRef: secret}
}

// checkUsername refuses a user name that no path of Vault can hold. It may be secret, and is not quoted.
func checkUsername(connection client.ObjectKey, text func(string) string) error {
	username := text("username")
	if _, err := transport.CleanPath("username", username); err == nil && !strings.Contains(username, "/") {
		return nil
	}
	return fault.Waiting(v1alpha1.ReasonInvalidSpec, "the user name is empty, or holds a slash or what cannot be printed").
		WithRemedy("correct it (Connection %s)", connection)
}

// passwordMethod logs in with a user name and a password, by Vault's auth methods userpass and ldap.
type passwordMethod struct {
	loginMount
	username string
	ref      v1alpha1.SecretKeyReference
}

func newPasswordMethod(name string, input Input, auth *v1alpha1.PasswordAuth) (Method, error) {
	m := &passwordMethod{ref: auth.PasswordSecretKeyRef}
	label := name
	if !input.Source.connection { // where user names are secret, no sentence says them
		label += " user " + auth.Username
	}
	var err error
	m.loginMount, err = newLoginMount(input.Source, name, label, strings.ToLower(name), auth.Mount, auth.VaultNamespace)
	if err != nil {
		return nil, err
	}
	if m.username, err = transport.CleanPath("username", auth.Username); err != nil {
		return nil, err
	}
	if strings.Contains(auth.Username, "/") {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "username %q: holds a slash", auth.Username).
			WithRemedy("leave it out (%s)", m.actor)
	}
	return m, nil
}

// Label implements Method.
func (m *passwordMethod) Label() string {
	if m.source.connection {
		return m.method
	}
	return m.method + " user " + m.username
}

// Account implements Method.
func (m *passwordMethod) Account() string { return m.account(m.username) }

// Remedy implements Method.
func (m *passwordMethod) Remedy() string { return "put the right password into " + m.source.key(m.ref) }

// ReadCredential takes the password as it is, but for one line break at the end, which kubectl create secret
// --from-file and most editors leave: white space may belong to a password.
func (m *passwordMethod) ReadCredential(ctx context.Context, reader client.Reader) (Credential, error) {
	value, err := transport.ReadSecretKey(ctx, reader, m.source.subject.Namespace, m.ref, m.config())
	if err != nil {
		return Credential{}, err
	}
	value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
	switch {
	case value == "":
		return Credential{}, fault.Waiting(
			v1alpha1.ReasonCredentialMissing, "%s is empty (%s)", m.source.key(m.ref), m.config(),
		).
			WithRemedy("put the password there")
	case strings.ContainsAny(value, "\r\n\x00"):
		return Credential{}, fault.Waiting(
			v1alpha1.ReasonInvalidSpec, "%s holds more than one line (%s)", m.source.key(m.ref), m.config(),
		).
			WithRemedy("put the password alone there")
	}
	return NewCredential(value), nil
}

// Login implements Method.
func (m *passwordMethod) Login(ctx context.Context, conn *transport.Conn, c Credential) (*LoginResult, error) {
	shown := ""
	if m.source.connection {
		shown = "login/…"
	}
	result, err := m.send(ctx, conn, loginRequest{
		path: "login/" + m.username, probe: "login/" + m.username + "-sallyport", // another user: this one may be locked
		shown: shown,
		body:  func() map[string]string { return map[string]string{"password": c.Secret.Reveal()} },
		// Vault locks a user after five wrong passwords, and an LDAP server may do so too.
		counted:  func(*transport.Response) bool { return true },
		diagnose: m.diagnose,
	})
	if m.method == ldap && fault.Is(err, v1alpha1.ReasonVaultError) {
		return nil, fault.From(err).WithRemedy("Vault's own log says more, and whether it reaches its LDAP server")
	}
	return result, err
}

func (m *passwordMethod) diagnose(response *transport.Response) (problem, remedy string) {
	const again = "; " + triedAgain
	if response.Is(http.StatusForbidden) {
		return "the user is locked after too many wrong passwords, or may not log in from here",
			"unlock it (sys/locked-users) or wait, and " + m.Remedy() + "; it is tried again now and then"
	}
	if m.method == ldap && response.Says("operation failed") {
		return "the LDAP server does not accept user and password, or Vault's way to it is wrong",
			m.Remedy() + ", or correct " + m.field("username") + " or auth/" + m.mount + "/config" + again
	}
	return "wrong user name or password", m.Remedy() + ", or correct " + m.field("username") + again
}
