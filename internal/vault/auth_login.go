package vault

import (
	"context"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// loginMount is what all methods have in common that log in.
type loginMount struct {
	// field of the VaultConfig that says how: spec.auth.kubernetes.
	field string
	// mount path of the auth method, without auth/.
	mount string
	// vaultNamespace to log in to.
	vaultNamespace string
	// as says in sentences who logs in: VaultConfig shop/prod, auth kubernetes role app.
	as string
}

func newLoginMount(
	config *v1alpha1.VaultConfig, field, label, byDefault string, mount v1alpha1.MountPath, vaultNamespace string,
) (loginMount, error) {
	m := loginMount{field: "spec.auth." + field, mount: byDefault, vaultNamespace: vaultNamespace, as: configName(config) + ", auth " + label}
	if mount != "" {
		path, err := cleanPath("mount", string(mount))
		if err != nil {
			return m, err
		}
		m.mount = path
	}
	return m, nil
}

func (m loginMount) ours() bool { return true }

func (m loginMount) namespace() string { return m.vaultNamespace }

// attempt is one login: the request, and what its refusal means.
type attempt struct {
	// path below the mount.
	path string
	// shown is how sentences call the path; empty: as it is.
	shown string
	// body is a function, so that nothing can print it.
	body func() map[string]string
	// probe is a path below the mount that needs no token to be asked.
	probe string
	// harmless: however often wrong credentials are offered, nobody is locked out.
	harmless bool
	// diagnose says what is wrong with a login that Vault refused, and what cures it. Vault's texts are looked at, never
	// handed on.
	diagnose func(a *answer) (problem, cure string)
}

// refusedLogin is a login that Vault answered with no.
type refusedLogin struct {
	*fault.Fault
	// harmless: it may be tried again now and then with the same credential, because somebody may put it right in Vault.
	harmless bool
}

// Unwrap lets callers find the fault.
func (r *refusedLogin) Unwrap() error { return r.Fault }

// login sends a login to Vault.
func (l *link) login(ctx context.Context, m loginMount, try attempt) (*grant, error) {
	r := request{method: http.MethodPost, path: "auth/" + m.mount + "/" + try.path, body: try.body(), namespace: m.vaultNamespace, as: m.as}
	if try.shown != "" {
		r.shown = "auth/" + m.mount + "/" + try.shown
	}
	a, err := l.call(ctx, r)
	switch {
	case err == nil && a.Auth != nil && a.Auth.ClientToken != "":
		return &grant{token: newToken(a.Auth.ClientToken), info: loginInfo(a.Auth, l.clock.Now())}, nil
	case err == nil && a.Auth != nil && a.Auth.MFARequirement != nil:
		return nil, &refusedLogin{fault.Waiting(v1alpha1.ReasonAuthFailed, "%s → %d Vault asks for a second factor (%s); "+
			"a program has none: exempt this login from multi-factor authentication", r, a.status, m.as), true}
	case err == nil:
		return nil, fault.Transient(v1alpha1.ReasonVaultError, "%s → %d without a token (%s)", r, a.status, m.as)
	case a == nil || a.status < 400 || a.status >= 500 || a.status == http.StatusTooManyRequests:
		return nil, err
	}
	if (a.status == http.StatusForbidden || a.status == http.StatusNotFound) && !l.mounted(ctx, m, try.probe) {
		return nil, &refusedLogin{fault.Waiting(v1alpha1.ReasonAuthFailed, "%s → %d no auth method is mounted there (%s); "+
			"enable it in Vault, or correct %s.mount", r, a.status, m.as, m.field), true}
	}
	problem, cure := try.diagnose(a)
	// Vault says 403 before it looks at a password or a secret ID: the user is locked, or may not log in from here.
	harmless := try.harmless || a.status == http.StatusForbidden
	return nil, &refusedLogin{fault.Waiting(v1alpha1.ReasonAuthFailed, "%s → %d %s (%s); %s", r, a.status, problem, m.as, cure), harmless}
}

// mounted tells whether there is an auth method. Vault denies an unknown path as it denies a login; a GET of a path that only
// takes POST is not denied where there is one. If Vault does not answer, its denial is taken for what it seems to be.
func (l *link) mounted(ctx context.Context, m loginMount, probe string) bool {
	r := request{method: http.MethodGet, path: "auth/" + m.mount + "/" + probe, namespace: m.vaultNamespace, as: m.as}
	a, err := l.call(ctx, r)
	return err == nil || a == nil || a.status != http.StatusForbidden && a.status != http.StatusNotFound
}

// loginInfo describes the token that a login made. Its lease is counted from now, because Vault's clock may be another.
func loginInfo(auth *authAnswer, now time.Time) TokenInfo {
	lease := time.Duration(auth.LeaseDuration) * time.Second
	info := TokenInfo{
		CreationTTL: lease,
		TTL:         lease,
		Renewable:   auth.Renewable,
		Policies:    sortedPolicies(auth.Policies, auth.IdentityPolicies),
		Type:        auth.TokenType,
		NumUses:     auth.NumUses,
		FromLogin:   true,
	}
	if lease > 0 {
		info.ExpireTime = now.Add(lease)
	}
	return info
}
