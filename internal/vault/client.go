package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	vaultapi "github.com/hashicorp/vault/api"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxAnswer bounds what is read of one answer, in bytes: a few times what Vault's storages accept as one secret.
const maxAnswer = 4 << 20

// request is one request to Vault's API.
type request struct {
	method string
	// path below /v1/, not escaped: secret/data/oracle.
	path string
	// shown is how sentences call the path; empty: as it is.
	shown string
	query url.Values
	// body is sent as JSON unless nil, as a merge patch if the method is PATCH.
	body any
	// wrapTTL asks for the answer to be wrapped in a token that lives this long, unless it is empty.
	wrapTTL string
	// token of the session; none for sys/health.
	token *token
	// namespace of Vault; empty: the link's.
	namespace string
	// capability that a policy must grant for it, for the sentence that says so: "read".
	capability string
	// cure says what to do about a 400; empty: check path and engine.
	cure string
	// as says in sentences who asks: VaultConfig shop/prod, auth token.
	as string
}

// String is how sentences call it: GET secret/data/oracle?version=3.
func (r request) String() string {
	line := r.method + " " + cmp.Or(r.shown, r.path)
	if len(r.query) > 0 {
		line += "?" + r.query.Encode()
	}
	return line
}

// Format prints String for every verb: body and token are secrets.
func (r request) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.String()) }

// answer is what Vault said, in the wire format of its client library.
type answer struct {
	vaultapi.Secret
	// Auth is in place of the library's, which leaves out some of it.
	Auth *authAnswer `json:"auth"`
	// Errors are Vault's texts. They are looked at, never handed on: they can quote what was sent.
	Errors []string `json:"errors"`

	status int
}

// authAnswer is what Vault says of a token that it made or renewed.
type authAnswer struct {
	vaultapi.SecretAuth
	TokenType string `json:"token_type"`
	NumUses   int    `json:"num_uses"`
}

// String is all that shows of an answer: it holds values, and that of a renewal a token.
func (a *answer) String() string { return fmt.Sprintf("status %d [redacted]", a.status) }

// Format is String for every verb.
func (a *answer) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, a.String()) }

// MarshalLog is String, for logr.
func (a *answer) MarshalLog() any { return a.String() }

// MarshalJSON is String; answers are only ever decoded.
func (a *answer) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }

// call makes one request. It returns the answer if Vault gave one, and a fault unless that is a success: with a refusal both are
// returned. Errors say by OutcomeUnknown whether a request with an effect may have had it.
//
// It is sent once, except where Vault itself says that it did nothing and wants it sent again: see again.
func (l *link) call(ctx context.Context, r request) (*answer, error) {
	for sends := 1; ; sends++ {
		if err := l.pace.turn(ctx, l.timeout, r); err != nil {
			return nil, err
		}
		var a answer
		reply, sent, err := l.exchange(ctx, r, &a)
		if err != nil {
			return nil, l.noAnswer(ctx, r, sent, err)
		}
		if l.again(ctx, r, reply, sends) {
			continue
		}
		if a.status = reply.status; a.status >= 300 {
			return &a, l.refusal(ctx, r, &a)
		}
		return &a, nil
	}
}

// maxSends bounds how often Vault may send a request back to its own address: behind a load balancer, one of its nodes can be
// the active one that all others point at.
const maxSends = 3

// again tells whether an answer asks for the same request once more: a standby that cannot forward sends it to the address that
// it was sent to already, or a quota names the time after which a read may come again, and the caller wants to wait that long.
func (l *link) again(ctx context.Context, r request, reply reply, sends int) bool {
	switch reply.status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return sends < maxSends && l.leadsBack(reply.location, r)
	case http.StatusTooManyRequests:
		if reply.retryAfter == 0 {
			return false
		}
		l.pace.hold(reply.retryAfter)
		return sends == 1 && !r.hasEffect() && reply.retryAfter <= patience(ctx, l.timeout)
	}
	return false
}

// leadsBack tells whether a redirect leads to the same place of the same origin. Any other could take the token elsewhere.
func (l *link) leadsBack(location string, r request) bool {
	u, err := url.Parse(location)
	if err != nil || u.Path != "/v1/"+r.path {
		return false
	}
	u.Path, u.RawPath, u.RawQuery = "", "", ""
	origin, problem := parseOrigin(u.String())
	return problem == "" && origin == l.origin
}

// reply is what an answer says beside its body.
type reply struct {
	status     int
	location   string
	retryAfter time.Duration
}

// errNotVault is an answer that Vault does not give: HTML from something in front of it, JSON that ends too early.
type errNotVault struct {
	status int
	detail string
}

// Error says what was found, never the body itself.
func (e *errNotVault) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.detail) }

// exchange sends the request and decodes the answer into out. It also tells whether any of it may have reached Vault.
func (l *link) exchange(ctx context.Context, r request, out any) (got reply, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})

	apiRequest, err := l.build(r)
	if err != nil {
		return reply{}, false, err
	}
	// The methods of Logical() that are recommended in its place hide the status code, which every sentence names.
	response, err := l.client(r).RawRequestWithContext(ctx, apiRequest) //nolint:staticcheck // see above
	if response == nil {
		return reply{}, connected.Load(), err
	}
	defer func() { _ = response.Body.Close() }()
	// A refusal comes as an error too, which quotes the answer; the answer itself says all that is needed. Anything else is an
	// answer that broke off.
	if _, refused := errors.AsType[*vaultapi.ResponseError](err); err != nil && !refused {
		return reply{}, true, err
	}
	got = newReply(response.Response)
	if got.status >= 300 && got.status < 400 {
		return got, true, nil // a redirect, whatever the body says
	}
	if got.status == http.StatusNoContent {
		return got, true, nil
	}
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return reply{}, true, err
	case len(body) > maxAnswer:
		return reply{}, true, &errNotVault{got.status, fmt.Sprintf("with more than %d MiB", maxAnswer>>20)}
	}
	return got, true, decode(response.Response, body, out)
}

func newReply(response *http.Response) reply {
	got := reply{status: response.StatusCode, location: response.Header.Get("Location")}
	// Vault gives seconds. The other form, a date, would rest on two clocks being the same.
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		got.retryAfter = min(time.Duration(min(seconds, 3600))*time.Second, maxHold)
	}
	return got
}

// client returns the library for the namespace that a request goes to. The library takes it from the client and no other place, so
// that there is a copy for each: a small one, which shares the connections.
func (l *link) client(r request) *vaultapi.Client {
	namespace := r.namespace
	if namespace == "" {
		namespace = l.namespace
	}
	if namespace == "" {
		return l.api
	}
	return l.api.WithNamespace(namespace)
}

func (l *link) build(r request) (*vaultapi.Request, error) {
	// The library escapes the path; segments that would change its meaning were refused when the path was made.
	built := l.client(r).NewRequest(r.method, "/v1/"+r.path)
	built.WrapTTL = r.wrapTTL // the library would take one from the environment
	if r.method == http.MethodPatch {
		built.Headers.Set("Content-Type", "application/merge-patch+json")
	}
	built.Params = r.query
	if r.token != nil {
		built.ClientToken = r.token.reveal()
	}
	if r.body != nil {
		if err := built.SetJSONBody(r.body); err != nil {
			return nil, fault.Terminal(v1alpha1.ReasonInternal, "%s: the data cannot be encoded as JSON", r) // the error may quote a value
		}
	}
	return built, nil
}

// decode reads an answer of Vault: JSON, with numbers kept as they are written, and with one of the keys that all of its answers have.
func decode(response *http.Response, body []byte, out any) error {
	notVault := func(detail string) error { return &errNotVault{response.StatusCode, detail} }
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "application/json" {
		if plainHTTPToTLS(response, body) {
			return errSpeaksTLS
		}
		return notVault("with something that is not JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(out); err != nil {
		return notVault("with JSON that cannot be read")
	}
	switch a := out.(type) {
	case *answer:
		if a.RequestID == "" && a.Errors == nil && a.WrapInfo == nil { // a wrapped answer has no ID
			return notVault("with JSON that is not Vault's")
		}
	case *healthAnswer:
		if a.Initialized == nil && a.Errors == nil {
			return notVault("with JSON that is not Vault's")
		}
	}
	return nil
}
