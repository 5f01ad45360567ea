package policy

import (
	"slices"
	"strings"
)

// Held is what Vault says that a token may do.
type Held struct {
	// Root: everything.
	Root bool
	// At are the capabilities at the paths of a policy's rules.
	At map[string][]string
	// Granted are all rules of the token's policies together, as these have them: an asterisk at the end of a path
	// stands for whatever begins so. Nil if the token may not ask for them.
	Granted map[string][]string
}

// Difference is between a policy and what a token may do.
type Difference struct {
	For     string `json:"for"`
	Missing []Rule `json:"missing,omitempty"`
	TooMuch []Rule `json:"tooMuch,omitempty"`
	// Partial: what the token may do at other paths is not known.
	Partial bool `json:"partial,omitempty"`
}

// Same tells whether nothing differs.
func (d *Difference) Same() bool { return len(d.Missing)+len(d.TooMuch) == 0 }

// defaults are the rules of Vault's policy "default" that no session needs; those that one needs are rules of the
// policy. Source: vault/policy_store.go of Vault 1.21.
var defaults = map[string][]string{
	"auth/token/lookup-self": {read}, "auth/token/renew-self": {update}, "auth/token/revoke-self": {update},
	"sys/capabilities-self": {update}, "sys/internal/ui/resultant-acl": {read}, "sys/renew": {update},
	"sys/leases/renew": {update}, "sys/leases/lookup": {update}, "cubbyhole/*": {create, read, update, remove, list},
	"sys/wrapping/wrap": {update}, "sys/wrapping/lookup": {update}, "sys/wrapping/unwrap": {update},
	"sys/tools/hash": {update}, "sys/tools/hash/*": {update}, "sys/control-group/request": {update},
	"identity/oidc/provider/+/authorize": {read, update},
}

// ownEntity is what the policy "default" lets the token's owner read of itself.
var ownEntity = []string{"identity/entity/id/", "identity/entity/name/"}

// Compare says what a token lacks of the policy, and what it has besides.
func (p *Policy) Compare(held *Held) Difference {
	d := Difference{For: p.For, Partial: held.Granted == nil && !held.Root}
	if held.Root {
		d.TooMuch = []Rule{{Path: "*", Capabilities: []string{"root"}, For: []string{"a root token may do everything"}}}
		return d
	}
	needed := map[string][]string{}
	for _, rule := range slices.Concat(p.Rules, p.Wanted) {
		needed[rule.Path] = union(needed[rule.Path], rule.Capabilities...)
	}
	for _, rule := range p.Rules {
		if lacking := without(rule.Capabilities, held.At[rule.Path]); len(lacking) > 0 {
			d.Missing = append(d.Missing, Rule{Path: rule.Path, Capabilities: lacking, For: rule.For})
		}
		if more := without(held.At[rule.Path], union(needed[rule.Path], defaults[rule.Path]...)); len(more) > 0 {
			d.TooMuch = append(d.TooMuch, Rule{Path: rule.Path, Capabilities: more, For: []string{"it needs less there"}})
		}
	}
	for path, capabilities := range held.Granted {
		if _, compared := held.At[path]; compared {
			continue
		}
		if more := without(capabilities, union(needed[path], besides(path)...)); len(more) > 0 {
			d.TooMuch = append(d.TooMuch, Rule{Path: path, Capabilities: more, For: []string{"nothing needs that"}})
		}
	}
	slices.SortFunc(d.TooMuch, func(a, b Rule) int { return strings.Compare(a.Path, b.Path) })
	return d
}

// besides are the capabilities that everybody has by the policy "default".
func besides(path string) []string {
	for _, own := range ownEntity {
		if strings.HasPrefix(path, own) {
			return []string{read}
		}
	}
	return defaults[path]
}

// without returns the capabilities that are not among others. To be denied is none.
func without(capabilities, others []string) []string {
	return slices.DeleteFunc(union(nil, capabilities...), func(c string) bool {
		return c == "deny" || slices.Contains(others, c)
	})
}
