package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// newDraft is the policy of an identity before anything was asked for.
func newDraft(config *v1alpha1.VaultConfig) *draft {
	subject := transport.SubjectOf(config)
	d := &draft{rules: map[string]*Rule{}, leases: map[string]bool{}}
	d.Subject, d.For, d.URL = subject, subject.String(), config.Spec.URL
	d.place(config)
	if auth.IsWorkload(config) {
		d.note("pods and VaultTasks log in themselves: this is for the roles of all service accounts together, and each needs only what " +
			"its pods mount and its VaultTasks do")
	}
	return d
}

// place finds the namespace of Vault Enterprise in which the token is made: a policy belongs to that, and its paths
// begin there.
func (d *draft) place(config *v1alpha1.VaultConfig) {
	requests := strings.Trim(config.Spec.VaultNamespace, "/")
	login := cmp.Or(strings.Trim(loginNamespace(&config.Spec.Auth), "/"), requests)
	d.VaultNamespace = login
	if login == "root" {
		login, d.VaultNamespace = "", ""
	}
	if login == requests {
		if config.Spec.Auth.Token != nil && requests != "" {
			d.note("a token of a namespace above " + quote(requests) + " needs these paths with the way from there in front")
		}
		return
	}
	below, inside := requests, true
	if login != "" {
		below, inside = strings.CutPrefix(requests, login+"/")
	}
	if !inside {
		d.problem(d.For, "the login is in the namespace "+quote(login)+", and no policy there reaches "+quote(requests))
		return
	}
	d.prefix = below + "/"
}

// hasLeases notes that something below the requests' namespace has leases, or may have.
func (d *draft) hasLeases(below string, surely bool) {
	if literal(below+"/sys") == "" { // else the path of the secret was refused, too
		d.leases[below] = d.leases[below] || surely
	}
}

// allowLeases adds what leases need, in the namespace of Vault that they are in. The policy "default" of the token's
// own namespace has it for that one alone.
func (d *draft) allowLeases(below string, surely bool) {
	way := d.prefix
	if below != "" {
		way += below + "/"
	}
	leases := way + "sys/leases/"
	if !surely {
		for _, path := range []string{"renew", "lookup", "revoke"} {
			d.Wanted = append(d.Wanted, Rule{
				Path: leases + path, Capabilities: []string{update}, Default: way == "" && path != "revoke",
				For: []string{"if what answers a write has a lease (pki: generate_lease in the role)"},
			})
		}
		return
	}
	d.add("to renew leases", leases+"renew", way == "", []string{update})
	d.add("to see that somebody revoked a lease", leases+"lookup", way == "", []string{update})
	d.add("to revoke the leases of pods that are gone", leases+"revoke", false, []string{update})
}

func loginNamespace(a *v1alpha1.VaultAuth) string {
	switch {
	case a.Kubernetes != nil:
		return a.Kubernetes.VaultNamespace
	case a.JWT != nil:
		return a.JWT.VaultNamespace
	case a.AppRole != nil:
		return a.AppRole.VaultNamespace
	case a.UserPass != nil:
		return a.UserPass.VaultNamespace
	case a.LDAP != nil:
		return a.LDAP.VaultNamespace
	case a.Cert != nil:
		return a.Cert.VaultNamespace
	}
	return ""
}

// session adds what the session itself asks: what belongs to its token in the namespace of that, and what belongs to
// leases where they are.
func (d *draft) session(config *v1alpha1.VaultConfig) {
	const token = "auth/token/"
	if config.Spec.Auth.Token == nil {
		d.allowSession("to give a token up that is needed no more", token+"revoke-self", update)
	}
	if unknown := (v1alpha1.VaultAuth{}); config.Spec.Auth.Token != nil || config.Spec.Auth == unknown {
		d.allowSession("to know when the token ends", token+"lookup-self", read)
	}
	if renew := config.Spec.AutoRenew; renew == nil || *renew {
		d.allowSession("to renew the token", token+"renew-self", update)
	}
	for _, below := range slices.Sorted(maps.Keys(d.leases)) {
		d.allowLeases(below, d.leases[below])
	}
	if role := config.Spec.Auth.AppRole; role != nil {
		d.Wanted = append(d.Wanted, Rule{
			Path:         "auth/" + cmp.Or(strings.Trim(string(role.Mount), "/"), "approle") + "/role/ROLE/secret-id/lookup",
			Capabilities: []string{update}, For: []string{"to see how many logins the secret ID is good for"},
		})
	}
}
