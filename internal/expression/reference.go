package expression

import (
	"fmt"
	"strings"
)

// Reference is the argument of vault.secret(...), in one of three forms: Key; Secret and Key; Config, Path and Key.
// References are comparable, so they can be the keys of a map.
type Reference struct {
	// Config is the name of a VaultConfig, in the form that names the path too.
	Config string
	// Path of the secret in the engine of Config, as it was written: the reader checks it.
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

// source returns a part of a reference as source text, in quotes where they are needed.
func source(part string) string {
	if part != "" && strings.IndexFunc(part, isNotBare) < 0 {
		return part
	}
	return quote(part)
}

// isNotBare tells whether a part with the character must be quoted. Letters are those of ASCII, because two different
// letters that look the same must not pass for one another.
func isNotBare(r rune) bool {
	return !isSimple(r) && r != '/'
}

// isSimple tells whether the character may stand in a name without quotes, in a reference and in a place.
func isSimple(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}
