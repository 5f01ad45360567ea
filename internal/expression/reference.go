// Package expression is the language of spec.value: it parses the references vault.secret(...) and the literals vault.text(...)
// in strings, says where they stand, and puts in place what a Lookup finds for them, once and without scanning the result.
//
// It must not know what a reference leads to: it reads neither Vault nor Kubernetes, does not decide which attached secret a
// key belongs to, and makes no files. Its errors name places and the expression's own text, never what a Lookup returned.
package expression

import (
	"fmt"
	"strings"
)

// Reference is what stands between the parentheses of vault.secret(...). Exactly one of three forms: Key; Secret and Key;
// Config, Path and Key. References are comparable, so they can be the keys of a map.
type Reference struct {
	// Config is the name of a VaultConfig, in the form that names the path too.
	Config string
	// Path of the secret in the engine of Config, as it was written: whoever reads it checks it.
	Path string
	// Secret is the name of an attached secret.
	Secret string
	// Key in the secret. Never empty in a parsed Reference.
	Key string
}

// String returns the canonical source of the reference, which Parse turns into the same reference again.
func (r Reference) String() string {
	switch {
	case r.Config != "" || r.Path != "":
		return fmt.Sprintf("vault.secret(%s:%s.%s)", source(r.Config), source(r.Path), source(r.Key))
	case r.Secret != "":
		return fmt.Sprintf("vault.secret(%s.%s)", source(r.Secret), source(r.Key))
	default:
		return fmt.Sprintf("vault.secret(%s)", source(r.Key))
	}
}

// source returns a part of a reference as it is written, in quotes where they are needed.
func source(part string) string {
	if part != "" && strings.IndexFunc(part, isNotBare) < 0 {
		return part
	}
	return quote(part)
}

// isNotBare tells whether a part that holds the character must be quoted. Letters are those of ASCII: two letters that
// look the same but are not must not pass for one another unseen.
func isNotBare(r rune) bool {
	return !isSimple(r) && r != '/'
}

// isSimple tells whether the character may stand in a name without quotes, in a reference and in a place.
func isSimple(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}
