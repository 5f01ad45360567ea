package auth

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

const appRole = "appRole"

// textCIDR is in Vault's answer to a login from an address that the role or the secret ID does not allow.
const textCIDR = "CIDR restrictions"

var _ = register(registration{
	name: appRole, build: newAppRoleMethod,
	connection: &connectionForm{
		rank: 4, keys: []string{"roleID", "secretID"}, flags: []string{keySecretIDWrapped}, mountable: true,
		auth: func(
			text func(string) string, mount v1alpha1.MountPath, secret v1alpha1.SecretKeyReference,
		) v1alpha1.VaultAuth {
			login := &v1alpha1.AppRoleAuth{Mount: mount, RoleID: text("roleID"), SecretIDSecretKeyRef: secret}
			if text(keySecretIDWrapped) == flagSet {
				login.SecretIDWrapped = new(true)
			}
			return v1alpha1.VaultAuth{AppRole: login}
		},
	},
})

// appRoleMethod logs in with role ID and secret ID, by Vault's auth method approle.
type appRoleMethod struct {
	loginMount
	roleID string
	ref    v1alpha1.SecretKeyReference
	// unwrapper opens the wrapping tokens that the Secret holds in place of a secret ID; nil: it holds one.
	unwrapper *unwrapper
}

func newAppRoleMethod(input Input) (Method, error) {
	auth := input.Config.Spec.Auth.AppRole
	mount, err := newLoginMount(input.Source, appRole, appRole, "approle", auth.Mount, auth.VaultNamespace)
	if err != nil {
		return nil, err
	}
	if !isWord(auth.RoleID) {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "roleID: is empty or holds white space").
			WithRemedy("write the role ID alone (%s)", mount.actor)
	}
	m := &appRoleMethod{loginMount: mount, roleID: auth.RoleID, ref: auth.SecretIDSecretKeyRef}
	if isTrue(auth.SecretIDWrapped) {
		m.unwrapper = newUnwrapper(input, mount, m.roleID, m.ref)
	}
	return m, nil
}

// Label implements Method.
func (*appRoleMethod) Label() string { return appRole }

// FurtherLogins asks Vault about the secret ID, which a policy may allow. Source: POST
// auth/MOUNT/role/NAME/secret-id/lookup.
func (m *appRoleMethod) FurtherLogins(
	ctx context.Context, conn *transport.Conn, made *LoginResult, c Credential,
) Logins {
	secretID := c.Secret
	if m.unwrapper != nil {
		known := m.unwrapper.memory.known(c)
		if known == nil {
			return Logins{Unknown: true}
		}
		secretID = *known
	}
	if made.Info.roleName == "" {
		return Logins{Unknown: true}
	}
	path := func(role string) string { return "auth/" + m.mount + "/role/" + role + "/secret-id/lookup" }
	response, err := conn.Call(ctx, transport.Request{
		Method: http.MethodPost, Path: path(made.Info.roleName),
		Body: map[string]string{"secret_id": secretID.Reveal()}, Token: &made.Token, Namespace: m.vaultNamespace,
		Actor: m.actor,
	})
	switch {
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return Logins{Unknown: true, Denied: path(told(made.Info.roleName))}
	case err != nil:
		return Logins{Unknown: true}
	}
	// Vault drops a secret ID with its last use, and says 0 of one without limit.
	if _, found := response.Data["secret_id_num_uses"]; !found {
		return Logins{Limited: true}
	}
	left := int(transport.Number(response.Data["secret_id_num_uses"]))
	return Logins{Limited: left > 0, Left: left}
}

// roleName is what a role may be called in sentences.
var roleName = regexp.MustCompile(`^\w[-.\w]{0,127}$`)

// told is the name of a role as sentences have it, which comes from Vault: as it is if it is one that Vault takes.
func told(role string) string {
	if roleName.MatchString(role) {
		return role
	}
	return "ROLE"
}

// Account implements Method. A secret ID that Vault itself wrapped is right, and offered no more once it is used up.
// In a Connection the role ID beside it may be a secret, and wrong; and each wrapping token may be opened by one
// login only.
func (m *appRoleMethod) Account() string {
	if m.unwrapper != nil && !m.source.connection {
		return ""
	}
	return m.account(m.roleID)
}

// Remedy implements Method.
func (m *appRoleMethod) Remedy() string {
	if m.unwrapper != nil {
		return m.unwrapper.remedy()
	}
	return "put a new secret ID into " + m.source.key(m.ref)
}

// ReadCredential implements Method.
func (m *appRoleMethod) ReadCredential(ctx context.Context, reader client.Reader) (Credential, error) {
	if m.unwrapper != nil {
		return m.unwrapper.readCredential(ctx, reader)
	}
	value, err := readWord(ctx, reader, m.source, m.ref, "secret ID")
	if err != nil {
		return Credential{}, err
	}
	// The mistake is an easy one, and Vault's answer to it says only that the login is wrong.
	if strings.HasPrefix(value, "hvs.") {
		return Credential{}, fault.Waiting(v1alpha1.ReasonInvalidSpec, "%s holds a Vault token and no secret ID (%s)",
			m.source.key(m.ref), m.config()).
			WithRemedy("put a secret ID there, or set %s if it is a wrapping token", m.field(keySecretIDWrapped))
	}
	return NewCredential(value), nil
}

// Login implements Method.
func (m *appRoleMethod) Login(ctx context.Context, conn *transport.Conn, c Credential) (*LoginResult, error) {
	secretID := c.Secret
	if m.unwrapper != nil {
		var err error
		if secretID, err = m.unwrapper.unwrap(ctx, conn, c); err != nil {
			return nil, err
		}
	}
	result, err := m.send(ctx, conn, loginRequest{
		path: "login", probe: "login",
		body: func() map[string]string {
			return map[string]string{"role_id": m.roleID, "secret_id": secretID.Reveal()}
		},
		// Vault locks a role ID after five wrong secret IDs. One that may not log in from here is not counted.
		counted:  func(response *transport.Response) bool { return !response.Says(textCIDR) },
		diagnose: m.diagnose,
	})
	if rejected, ok := errors.AsType[*RejectedError](err); ok && rejected.Counted && m.unwrapper != nil {
		m.unwrapper.memory.refuse(c)
	}
	return result, err
}

func (m *appRoleMethod) diagnose(response *transport.Response) (problem, remedy string) {
	if response.Is(http.StatusForbidden) {
		return "the role ID is locked after too many wrong secret IDs, or may not log in from here",
			"unlock it (sys/locked-users) or wait; it is tried again now and then"
	}
	if response.Says(textCIDR) {
		return "the secret ID or its role may not be used from the address of the controller",
			"let secret_id_bound_cidrs of the role, and the secret ID's own, allow it; it is tried again now and then"
	}
	return "there is no such role ID, or the secret ID is wrong, used up or expired",
		m.Remedy() + ", or correct " + m.field("roleID") + "; " + triedAgain
}
