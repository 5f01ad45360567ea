package transport

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	vaultapi "github.com/hashicorp/vault/api"
)

// RootNamespace is Vault's root namespace, whatever a Conn's is.
const RootNamespace = "/"

// Request is one request to Vault's API.
type Request struct {
	Method string
	// Path below /v1/, not escaped: secret/data/oracle.
	Path string
	// Shown is how sentences call the path; empty: as it is.
	Shown string
	Query url.Values
	// Body is sent as JSON unless nil, as a merge patch if the method is PATCH.
	Body any
	// WrapTTL asks for the response to be wrapped in a token that lives this long, unless it is empty.
	WrapTTL string
	// Token to send; nil: none.
	Token *Token
	// Namespace of Vault; empty: the Conn's. See RootNamespace.
	Namespace string
	// Capability that a policy must allow for it, for the sentence that says so: "read".
	Capability string
	// Remedy says what to do about a 400; empty: check path and engine.
	Remedy string
	// Actor says in sentences who asks: VaultConfig shop/prod, auth token.
	Actor string
}

// String is how sentences call it: GET secret/data/oracle?version=3.
func (r Request) String() string {
	line := r.Method + " " + r.shownPath()
	if len(r.Query) > 0 {
		line += "?" + r.Query.Encode()
	}
	return line
}

// Format prints String for every verb: body and token are secrets.
func (r Request) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.String()) }

// MarshalLog is String, for logr.
func (r Request) MarshalLog() any { return r.String() }

// MarshalJSON is String, for whatever encodes it without thinking.
func (r Request) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

func (r Request) shownPath() string { return cmp.Or(r.Shown, r.Path) }

// hasEffect tells requests that change something from those that only look.
func (r Request) hasEffect() bool { return r.Method != http.MethodGet }

// isTokenRenewal tells the requests that keep a token alive.
func (r Request) isTokenRenewal() bool { return r.Path == "auth/token/renew-self" }

// operation is what metrics call it: one of a closed list, whatever the path is.
func (r Request) operation() string {
	switch path := r.Path; {
	case path == "sys/health":
		return "health"
	case r.isTokenRenewal():
		return "renew_token"
	case path == "auth/token/revoke-self":
		return "revoke_token"
	case path == "sys/leases/renew":
		return "renew_lease"
	case path == "sys/leases/revoke":
		return "revoke_lease"
	case strings.HasPrefix(path, "auth/") && r.Token == nil:
		return "login"
	case r.Method == http.MethodGet:
		return "read"
	case r.Method == http.MethodDelete:
		return "delete"
	}
	return "write"
}

// isRenewal tells the requests that keep a token or a lease alive.
func (r Request) isRenewal() bool { return r.isTokenRenewal() || r.Path == "sys/leases/renew" }

// Response is what Vault answered, in the wire format of its client library.
type Response struct {
	vaultapi.Secret
	// Auth is in place of the library's, which leaves out some of it.
	Auth *ResponseAuth `json:"auth"`
	// Errors are Vault's texts. They are looked at, never handed on: they can quote what was sent.
	Errors []string `json:"errors"`
	// Status is the HTTP status code.
	Status int `json:"-"`
}

// ResponseAuth is what Vault says of a token that it made or renewed.
type ResponseAuth struct {
	vaultapi.SecretAuth
	TokenType string `json:"token_type"`
	NumUses   int    `json:"num_uses"`
}

// Format prints no token, for every verb.
func (a ResponseAuth) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "auth [redacted]")
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
