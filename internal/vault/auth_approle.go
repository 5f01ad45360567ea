package vault

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// appRoleMethod logs in with role ID and secret ID, by Vault's auth method approle.
type appRoleMethod struct {
	loginMount
	roleID            string
	namespaceOfSecret string
	ref               v1alpha1.SecretKeyReference
	// wrapped: the Secret holds wrapping tokens in place of a secret ID.
	wrapped bool

	mu sync.Mutex
	// unwrapped is the secret ID that one of the wrapping tokens gave, and the fingerprint of that token. It is nowhere else.
	unwrapped *unwrapped
}

func newAppRoleMethod(config *v1alpha1.VaultConfig, auth *v1alpha1.AppRoleAuth) (method, error) {
	mount, err := newLoginMount(config, "appRole", "appRole", "approle", auth.Mount, auth.VaultNamespace)
	m := &appRoleMethod{
		loginMount: mount, roleID: auth.RoleID, wrapped: isTrue(auth.SecretIDWrapped),
		namespaceOfSecret: config.Namespace, ref: auth.SecretIDSecretKeyRef,
	}
	if err == nil && !isWord(auth.RoleID) {
		err = fault.Terminal(v1alpha1.ReasonInvalidSpec, "roleID: is empty or holds white space; write the role ID alone (%s)", m.as)
	}
	return m, err
}

func (m *appRoleMethod) label() string { return "appRole" }

func (m *appRoleMethod) source() string { return secretKey(m.namespaceOfSecret, m.ref) }

func (m *appRoleMethod) cure() string {
	if m.wrapped {
		return "put a new wrapping token for each replica of the controller into " + m.source()
	}
	return "put a new secret ID into " + m.source()
}

func (m *appRoleMethod) credential(ctx context.Context, reader client.Reader) (credential, error) {
	if m.wrapped {
		return m.wrappedCredential(ctx, reader)
	}
	value, err := readWord(ctx, reader, m.namespaceOfSecret, m.ref, configOf(m.as), "secret ID")
	if err != nil {
		return credential{}, err
	}
	// The mistake is an easy one, and Vault's answer to it says only that the login is wrong.
	if strings.HasPrefix(value, "hvs.") {
		return credential{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s holds a Vault token and no secret ID (%s); put a secret ID there, "+
			"or set %s.secretIDWrapped if it is a wrapping token", m.source(), configOf(m.as), m.field)
	}
	return newCredential(value), nil
}

func (m *appRoleMethod) login(ctx context.Context, l *link, c credential) (*grant, error) {
	secretID := c.secret
	if m.wrapped {
		var err error
		if secretID, err = m.unwrap(ctx, l, c); err != nil {
			return nil, err
		}
	}
	granted, err := l.login(ctx, m.loginMount, attempt{
		path: "login", probe: "login",
		body: func() map[string]string {
			return map[string]string{"role_id": m.roleID, "secret_id": secretID.reveal()}
		},
		// Vault locks a role ID after five wrong secret IDs.
		harmless: false,
		diagnose: m.diagnose,
	})
	if refused, ok := errors.AsType[*refusedLogin](err); ok && !refused.harmless {
		m.forget()
	}
	return granted, err
}

func (m *appRoleMethod) diagnose(a *answer) (problem, cure string) {
	if a.status == http.StatusForbidden {
		return "the role ID is locked after too many wrong secret IDs, or may not log in from here",
			"unlock it (sys/locked-users) or wait; it is tried again now and then"
	}
	return "there is no such role ID, or the secret ID is wrong, used up or expired, or may not be used from here",
		m.cure() + ", or correct " + m.field + ".roleID; it is not tried again until one of them changes"
}
