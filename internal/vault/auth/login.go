package auth

import (
	"context"
	"net/http"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// loginMount is what all methods have in common that log in.
type loginMount struct {
	source Source
	// method is the name as in spec.auth.
	method string
	// mount path of the auth method, without auth/.
	mount string
	// vaultNamespace to log in to.
	vaultNamespace string
	// actor says in sentences who logs in: VaultConfig shop/prod, auth kubernetes role app.
	actor string
}

// newLoginMount returns the mount that a VaultConfig names, or the usual one of the method.
func newLoginMount(
	source Source, method, label, usual string, mount v1alpha1.MountPath, vaultNamespace string,
) (loginMount, error) {
	m := loginMount{
		source: source, method: method, mount: usual, vaultNamespace: vaultNamespace, actor: source.actor(label),
	}
	if mount != "" {
		path, err := transport.CleanPath("mount", string(mount))
		if err != nil {
			return m, err
		}
		m.mount = path
	}
	return m, nil
}

// IssuesToken implements Method.
func (loginMount) IssuesToken() bool { return true }

// Account implements Method.
func (loginMount) Account() string { return "" }

// FurtherLogins implements Method.
func (loginMount) FurtherLogins(context.Context, *transport.Conn, *LoginResult, Credential) Logins {
	return Logins{}
}

// Namespace implements Method.
func (m loginMount) Namespace() string { return m.vaultNamespace }

// account names what Vault locks after refused logins: a user, or a role ID. It stays in memory.
func (m loginMount) account(name string) string {
	return m.vaultNamespace + "\x00" + m.mount + "\x00" + strings.ToLower(name)
}

// triedAgain is what sentences say of a login that Vault counts: see session/accounts.go.
const triedAgain = "it is tried again at once when one of these changes, and else rarely enough for nobody to be locked out"

// config names the object that says how to log in.
func (m loginMount) config() string { return m.source.subject.String() }

// field names a setting of the method.
func (m loginMount) field(setting string) string { return m.source.field(m.method, setting) }

// loginRequest is one login: the request, and what its denial means.
type loginRequest struct {
	// path below the mount.
	path string
	// shown is how sentences call the path; empty: as it is.
	shown string
	// body is a function, so that nothing can print it.
	body func() map[string]string
	// probe is a path below the mount that needs no token to be asked.
	probe string
	// counted tells of a denial whether Vault counts it, to lock the account; nil: of none.
	counted func(response *transport.Response) bool
	// diagnose says what is wrong with a login that Vault denied, and what cures it. Vault's texts are looked at, never
	// handed on.
	diagnose func(response *transport.Response) (problem, remedy string)
}

// send sends a login to Vault.
func (m loginMount) send(ctx context.Context, conn *transport.Conn, login loginRequest) (*LoginResult, error) {
	r := transport.Request{
		Method: http.MethodPost, Path: "auth/" + m.mount + "/" + login.path, Body: login.body(),
		Namespace: m.vaultNamespace, Actor: m.actor,
	}
	if login.shown != "" {
		r.Shown = "auth/" + m.mount + "/" + login.shown
	}
	response, err := conn.Call(ctx, r)
	rejected := func(counted bool, problem, remedy string) error {
		return &RejectedError{fault.Waiting(
			v1alpha1.ReasonAuthFailed, "%s → %d %s (%s)", r, response.Status, problem, m.actor,
		).
			WithRemedy("%s", remedy), counted}
	}
	switch {
	case err == nil && response.Auth != nil && response.Auth.ClientToken != "":
		return &LoginResult{
			Token: transport.NewToken(response.Auth.ClientToken), Info: loginInfo(response.Auth, conn.Now()),
		}, nil
	case err == nil && response.Auth != nil && response.Auth.MFARequirement != nil:
		return nil, rejected(false, "Vault asks for a second factor", "a program has none: exempt this login from multi-factor authentication")
	case err == nil:
		return nil, fault.Transient(v1alpha1.ReasonVaultError, "%s → %d without a token (%s)", r, response.Status, m.actor)
	case response == nil, response.Status < 400, fault.From(err).Class == fault.ClassTransient:
		return nil, err
	}
	if (response.Is(http.StatusForbidden) || response.Is(http.StatusNotFound)) && !m.exists(ctx, conn, login.probe) {
		return nil, rejected(false, "no auth method is mounted there", "enable it in Vault, or correct "+m.field("mount"))
	}
	problem, remedy := login.diagnose(response)
	// Vault says 403 before it looks at a password or a secret ID: the user is locked, or may not log in from here.
	counted := login.counted != nil && !response.Is(http.StatusForbidden) && login.counted(response)
	return nil, rejected(counted, problem, remedy)
}

// Serves asks at the path of logins without logging in, which needs no token: nil if an auth method of Vault answers
// there, by whatever it says of a GET of a path that only takes POST. Vault itself and what stands in front of it deny
// all other paths alike. Errors are faults.
func (m loginMount) Serves(ctx context.Context, conn *transport.Conn) error {
	r := transport.Request{
		Method: http.MethodGet, Path: "auth/" + m.mount + "/login", Namespace: m.vaultNamespace, Actor: m.config(),
	}
	response, err := conn.Call(ctx, r)
	switch {
	case err == nil, response.Is(http.StatusMethodNotAllowed), response.Is(http.StatusBadRequest):
		return nil
	case response.Is(http.StatusForbidden), response.Is(http.StatusNotFound):
		return fault.Waiting(v1alpha1.ReasonVaultUnreachable, "%s → %d neither sys/health nor the path of logins is let through, "+
			"or no auth method is mounted there (%s)", r, response.Status, m.config()).
			WithRemedy("let one of them through, enable the method in Vault, or correct %s", m.field("mount"))
	}
	return err
}

// exists tells whether there is an auth method at the mount. Vault denies an unknown path as it denies a login; a GET
// of a path that only takes POST is not denied where there is one. If Vault does not answer, its denial is taken for
// what it seems to be.
func (m loginMount) exists(ctx context.Context, conn *transport.Conn, probe string) bool {
	r := transport.Request{
		Method: http.MethodGet, Path: "auth/" + m.mount + "/" + probe, Namespace: m.vaultNamespace, Actor: m.actor,
	}
	response, err := conn.Call(ctx, r)
	return err == nil || !response.Is(http.StatusForbidden) && !response.Is(http.StatusNotFound)
}

// loginInfo describes the token that a login made. Its life is counted from now, because Vault's clock may be another.
func loginInfo(made *transport.ResponseAuth, now time.Time) TokenInfo {
	life := time.Duration(made.LeaseDuration) * time.Second
	info := TokenInfo{
		CreationTTL: life,
		TTL:         life,
		Renewable:   made.Renewable,
		Policies:    sortedPolicies(made.Policies, made.IdentityPolicies),
		Type:        made.TokenType,
		NumUses:     made.NumUses,
		FromLogin:   true,
	}
	info.roleName = made.Metadata["role_name"]
	if _, err := transport.CleanPath("role", info.roleName); err != nil || strings.Contains(info.roleName, "/") {
		info.roleName = ""
	}
	if life > 0 {
		info.ExpireTime = now.Add(life)
	}
	return info
}
