// Package policy makes the least policy of Vault for what Connections and VaultTasks ask: one for each identity that
// logs in. What a Connection asks is the resolver's own plan; what a task and a session ask is told here, and a test
// applies it to a real Vault: with all of it everything works, with one right less it does not.
//
// A policy is made of what tenants write, and given out by somebody with more rights than they have. So a path that a
// policy would take for more than itself is not put into one: see literal.
package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/internal/fault"
)

// Policy is the least that one identity needs.
type Policy struct {
	// Subject whose token it is for: VaultConfig shop/main.
	Subject fault.Subject `json:"-"`
	// For is the subject's name.
	For string `json:"for"`
	URL string `json:"url,omitempty"`
	// VaultNamespace that the policy belongs to; empty: the root namespace.
	VaultNamespace string `json:"vaultNamespace,omitempty"`
	Rules          []Rule `json:"rules"`
	// Wanted are rules that only whoever knows more can tell the need of.
	Wanted []Rule `json:"maybe,omitempty"`
	// Notes say on what the rules rest.
	Notes []string `json:"notes,omitempty"`
	// Problems say what is not in the policy, and why.
	Problems []string `json:"problems,omitempty"`
}

// Rule is what a policy allows at one path.
type Rule struct {
	Path         string   `json:"path"`
	Capabilities []string `json:"capabilities"`
	// For are those who need it, or what it is for.
	For []string `json:"for"`
	// Default: Vault's policy "default" has it, too.
	Default bool `json:"default,omitempty"`
}

// draft is a policy in the making.
type draft struct {
	Policy
	// prefix leads from the namespace of the token, where the policy is, to that of the requests.
	prefix string
	rules  map[string]*Rule
	// leases are where something that is asked for has one, as the way from the requests' namespace of Vault: true; false
	// where it may have one.
	leases map[string]bool
}

// Capabilities of Vault's policies.
const (
	create = "create"
	read   = "read"
	update = "update"
	patch  = "patch"
	remove = "delete"
	list   = "list"
)

// allow adds capabilities at a path of the requests' namespace.
func (d *draft) allow(who, path string, capabilities ...string) {
	if problem := literal(path); problem != "" {
		d.problem(who, problem)
		return
	}
	d.add(who, d.prefix+path, false, capabilities)
}

// allowSession adds what a session needs, which Vault's policy "default" has as well.
func (d *draft) allowSession(what, path string, capabilities ...string) {
	d.add(what, path, true, capabilities)
}

func (d *draft) add(who, path string, isDefault bool, capabilities []string) {
	rule := d.rules[path]
	if rule == nil {
		rule = &Rule{Path: path, Default: isDefault}
		d.rules[path] = rule
	}
	rule.Capabilities = union(rule.Capabilities, capabilities...)
	rule.For = union(rule.For, who)
}

func (d *draft) note(text string)         { d.Notes = union(d.Notes, text) }
func (d *draft) problem(who, text string) { d.Problems = union(d.Problems, who+": "+text) }

// finished is the policy, with its rules in order.
func (d *draft) finished() Policy {
	rules := slices.SortedFunc(maps.Values(d.rules), func(a, b *Rule) int {
		if a.Default != b.Default {
			if a.Default {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.Path, b.Path)
	})
	d.Rules = make([]Rule, len(rules))
	for n, rule := range rules {
		d.Rules[n] = *rule
	}
	return d.Policy
}

// union adds texts to a sorted list.
func union(to []string, texts ...string) []string {
	all := slices.Concat(to, texts)
	slices.Sort(all)
	return slices.Compact(all)
}

// literal says what is wrong with a path that a policy would not take for itself: an asterisk at its end stands for
// everything that begins so, a plus for any part, and braces for what Vault knows of the token's owner.
func literal(path string) string {
	switch {
	case strings.HasSuffix(path, "*"), slices.Contains(strings.Split(path, "/"), "+"), strings.Contains(path, "{{"):
		return "no policy can allow " + quote(path) + " alone, for it would be read as a pattern"
	}
	return ""
}
