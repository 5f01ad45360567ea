package vault

import (
	"encoding/json"
	"fmt"
	"io"
)

const redacted = "[redacted]"

// token is a Vault token that cannot be printed by accident. It holds a function and not a string, because fmt calls no
// method on an unexported field: it would print a string inside a larger struct as it stands.
type token struct{ reveal func() string }

func newToken(value string) token { return token{reveal: func() string { return value }} }

// String shows nothing of the token, and neither do the methods below.
func (token) String() string { return redacted }

// GoString is for %#v.
func (token) GoString() string { return redacted }

// Format is for every other verb.
func (token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// MarshalLog is for logr.
func (token) MarshalLog() any { return redacted }

// MarshalJSON is for encoding/json, and for loggers that use it.
func (token) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText is for map keys and text formats.
func (token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
