package transport

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	vaultapi "github.com/hashicorp/vault/api"
)

// Response is what Vault answered, in the wire format of its client library.
type Response struct {
	vaultapi.Secret
	// Auth is in place of the library's, which leaves out some of it.
	Auth *TokenGranted `json:"auth"`
	// Errors are Vault's texts. They are looked at, never handed on: they can quote what was sent.
	Errors []string `json:"errors"`
	// Status is the HTTP status code.
	Status int `json:"-"`
}

// TokenGranted is what Vault says of a token that it made or renewed.
type TokenGranted struct {
	vaultapi.SecretAuth
	TokenType string `json:"token_type"`
	NumUses   int    `json:"num_uses"`
}

// Says tells whether one of Vault's error texts holds this one.
func (r *Response) Says(text string) bool {
	return slices.ContainsFunc(r.Errors, func(e string) bool { return strings.Contains(e, text) })
}

// Is tells whether there is a response, with this status.
func (r *Response) Is(status int) bool { return r != nil && r.Status == status }

// String is all that shows of a response: it holds values, and that of a renewal a token.
func (r *Response) String() string { return fmt.Sprintf("status %d [redacted]", r.Status) }

// Format is String for every verb.
func (r *Response) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.String()) }

// MarshalLog is String, for logr.
func (r *Response) MarshalLog() any { return r.String() }

// MarshalJSON is String; responses are only ever decoded.
func (r *Response) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }
