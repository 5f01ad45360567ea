package transport

import (
	"encoding/json"
	"fmt"
	"io"
)

const redacted = "[redacted]"

// Token is a secret word of Vault's that cannot be printed by accident. It holds a function and not a string, because
// fmt calls no method on an unexported field: it would print a string inside a larger struct as it stands.
type Token struct{ reveal func() string }

// NewToken returns a Token that reveals the value.
func NewToken(value string) Token { return Token{reveal: func() string { return value }} }

// Reveal returns the token itself, which is the caller's to guard; empty for the zero Token.
func (t Token) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// String shows nothing of the token, and neither do the methods below.
func (Token) String() string { return redacted }

// GoString is for %#v.
func (Token) GoString() string { return redacted }

// Format is for every other verb.
func (Token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// MarshalLog is for logr.
func (Token) MarshalLog() any { return redacted }

// MarshalJSON is for encoding/json, and for loggers that use it.
func (Token) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText is for map keys and text formats.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
