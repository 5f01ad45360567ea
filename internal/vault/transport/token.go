package transport

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

// Headers are those that each request to Vault has besides, and a key that is the same for the same ones.
type Headers struct {
	list []header
	key  [sha256.Size]byte
}

// header is one of them. Whether its text is secret, whoever wrote the spec knows: none is shown.
type header struct {
	name string
	text Token
}

func newHeaders(list []header) Headers {
	if len(list) == 0 {
		return Headers{}
	}
	digest := sha256.New()
	for _, h := range list { // neither a name nor a text holds a zero byte
		_, _ = io.WriteString(digest, h.name+"\x00"+h.text.Reveal()+"\x00")
	}
	return Headers{list: list, key: [sha256.Size]byte(digest.Sum(nil))}
}

// addTo puts the headers into a request.
func (h Headers) addTo(request http.Header) {
	for _, one := range h.list {
		request.Set(one.name, one.text.Reveal())
	}
}
