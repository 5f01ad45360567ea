package expression

import (
	"fmt"
	"slices"
	"strings"
)

// Reference is the argument of vault.secret(...), in one of three forms: Key; Secret and Key; Config, Path and Key. The
// last two may lead into the value of the key, or mean the whole secret.
type Reference struct {
	// Config is the name of a VaultConfig, in the form that names the path too.
	Config string
	// Path of the secret in the engine of Config, as it was written: the reader checks it.
	Path string
	// Secret is the name of an attached secret.
	Secret string
	// Key in the secret. Only empty in a parsed Reference if that means the whole secret.
	Key string
	// Whole means all keys of the secret, as an object.
	Whole bool
	// Fields lead into the value of the key: names in objects, numbers from 0 in lists.
	Fields []string
	// Default is the JSON, on one line, that stands in the place of what is absent; empty if there is none.
	Default string
}

// String returns the canonical source of the reference, which Parse turns into the same reference again.
func (r Reference) String() string {
	var text strings.Builder
	text.WriteString(prefix + functionSecret + "(")
	switch {
	case r.Config != "" || r.Path != "":
		fmt.Fprintf(&text, "%s:%s.", source(r.Config), source(r.Path))
	case r.Secret != "":
		text.WriteString(source(r.Secret) + ".")
	}
	text.WriteString(r.upTo(len(r.Fields)))
	if r.Default != "" {
		text.WriteString(", " + r.Default)
	}
	return text.String() + ")"
}

// upTo is the source of the key and the first fields.
func (r Reference) upTo(fields int) string {
	if r.Whole {
		return wholeSecret
	}
	var text strings.Builder
	text.WriteString(source(r.Key))
	for _, field := range r.Fields[:fields] {
		text.WriteString("." + source(field))
	}
	return text.String()
}

// Bare tells whether the reference names no secret, so that it means the one that has the key.
func (r Reference) Bare() bool { return r.Config == "" && r.Secret == "" }

// Equal tells whether two references are the same.
func (r Reference) Equal(other Reference) bool {
	return r.Config == other.Config && r.Path == other.Path && r.Secret == other.Secret && r.Key == other.Key &&
		r.Whole == other.Whole && r.Default == other.Default && slices.Equal(r.Fields, other.Fields)
}

// wholeSecret stands in the place of a key and means all of them.
const wholeSecret = "*"

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
