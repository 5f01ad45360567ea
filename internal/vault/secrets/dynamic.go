package secrets

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// dynamicPaths are what Vault's engines call the paths that make a credential for whoever reads them:
// database/creds/app, aws/sts/deploy.
var dynamicPaths = []string{"creds", "sts"}

// Issued is a dynamic secret: one that was made for one reader.
type Issued struct {
	// Secret has neither version nor time.
	Secret Secret
	// Lease is the zero Lease if the secret has none.
	Lease Lease
	// ExpireTime is when a secret without a lease ends by itself, such as a certificate; zero if it does not say.
	ExpireTime time.Time
	// Token that made it: a lease ends with it.
	Token session.TokenTerm
	// Shared: nothing was made, whatever the path is called; everybody reads the same there, until it is rotated.
	Shared bool
	// LeaseToken is that token where it should be kept with the lease; else zero.
	LeaseToken session.LeaseToken
}

// Format prints path and version for every verb.
func (i Issued) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, i.Secret.String()) }

// IsDynamic tells whether what is at the location is made for each reader, so that to read it has an effect: it is
// written to, or a read made a lease before, or it is a path of that kind by the convention of Vault's engines and no
// read has shown that it is none: ad/creds and tokens of organisations at terraform/creds are the same for everybody.
func IsDynamic(ctx context.Context, s *session.Session, location Location) (bool, error) {
	if location.Write {
		return true, nil
	}
	return at(ctx, s, locate, location, func(_ context.Context, conn *session.Conn, found kvPath) (bool, error) {
		if makesOne, known := makes(conn, found); known {
			return makesOne, nil
		}
		first, _, deeper := strings.Cut(found.path, "/")
		return found.version == notKV && deeper && slices.Contains(dynamicPaths, first), nil
	})
}

// Issue has an engine make a dynamic secret, by a read or a write. It is sent at most once, except that a denial (403)
// for a token which was replaced in the meantime is tried with the new one. The token that it is made with is not
// revoked by this process any more: the lease would end with it.
//
// Errors are faults. Source: GET or POST engine/path.
func Issue(ctx context.Context, s *session.Session, location Location) (*Issued, error) {
	return at(ctx, s, locate, location, func(ctx context.Context, conn *session.Conn, found kvPath) (*Issued, error) {
		r, err := issueRequest(conn, found, location)
		if err != nil {
			return nil, err
		}
		response, err := conn.Call(ctx, r)
		switch {
		case response.Is(http.StatusNotFound):
			return nil, notFound(r, response, found, 0)
		case err != nil:
			return nil, found.explain(err)
		case response.LeaseID == "" && (response.Auth != nil || response.WrapInfo != nil):
			return nil, tokenAnswered(r, response)
		case len(response.LeaseID) > maxLeaseID:
			return nil, fault.Waiting(v1alpha1.ReasonInvalidRequest,
				"%s → a lease whose ID has %d bytes, more than %d (%s)", r, len(response.LeaseID), maxLeaseID, r.Actor).
				WithRemedy("check that this is a Vault")
		case len(response.Data) == 0:
			return nil, fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d without data (%s)", r, response.Status, r.Actor).
				WithRemedy("use a path that answers, or a VaultTask for what has only an effect")
		}
		issued := newIssued(conn, found, response)
		if issued.Shared = !location.Write && response.LeaseID == "" && issued.ExpireTime.IsZero(); issued.Shared {
			describeRole(&issued.Secret, found.path)
			rememberShared(conn, found)
		}
		return issued, nil
	})
}

func newIssued(conn *session.Conn, found kvPath, response *transport.Response) *Issued {
	issued := &Issued{
		Secret: Secret{Path: found.apiPath(), RequestID: response.RequestID, Data: response.Data},
		Token:  conn.TokenTerm(),
	}
	if response.LeaseID != "" {
		issued.Lease = Lease{
			ID: NewLeaseID(conn.Below(), response.LeaseID), Duration: leaseDuration(response), Renewable: response.Renewable,
		}
		conn.LeaseIssued(response.LeaseID)
		if token, worthKeeping := conn.LeaseToken(); worthKeeping {
			issued.LeaseToken = token
		}
		rememberLease(conn, found)
		return issued
	}
	issued.ExpireTime = endOf(response.Data, conn.Now())
	return issued
}

// issueRequest is the request of Issue.
func issueRequest(conn *session.Conn, found kvPath, location Location) (transport.Request, error) {
	r := newRequest(conn, http.MethodGet, found.apiPath(), `"read"`)
	// Vault's own reason is not repeated: nobody knows what an engine's plugin puts into it.
	r.Remedy = "check the path; vault read " + r.Path + " shows Vault's reason"
	// Every request is a use, and the lease would end with the last one.
	if uses := conn.TokenUses(); uses > 0 {
		return r, fault.Waiting(v1alpha1.ReasonUseLimited,
			"%s → no secret that lives as long as its token is made with one that was made for %d uses (%s)", r, uses, r.Actor).
			WithRemedy("let the login make tokens without limit (token_num_uses=0 in its role), or put one into the Secret")
	}
	if !location.Write {
		return r, nil
	}
	switch {
	case found.guessed:
		return r, fault.Waiting(v1alpha1.ReasonPermissionDenied,
			"%s: Vault does not tell this token which engine is at %s (%s), so it has no right there, or there is none",
			found.apiPath(), found.engine, r.Actor).
			WithRemedy("its policy needs \"create\" or \"update\" on %s", found.apiPath())
	case found.version != notKV:
		return r, fault.Waiting(v1alpha1.ReasonInvalidRequest, "method POST on %s: the engine at %s is KV (%s), where a write changes the secret",
			found.apiPath(), found.engine, r.Actor).WithRemedy("leave out method, or write with a VaultTask")
	}
	r.Method, r.Capability = http.MethodPost, `"create" or "update"`
	r.Remedy = "check path and parameters; vault write with the same shows Vault's reason"
	parameters := location.Parameters
	if parameters == nil {
		parameters = map[string]any{}
	}
	r.Body = parameters
	return r, nil
}

// MayIssue returns nil if the policies of the session's token allow Issue, as far as Vault tells. Nothing is made.
// Source: POST sys/capabilities-self.
func MayIssue(ctx context.Context, s *session.Session, location Location) error {
	_, err := at(ctx, s, locate, location, func(ctx context.Context, conn *session.Conn, found kvPath) (struct{}, error) {
		r, err := issueRequest(conn, found, location)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, checkCapability(ctx, conn, r, location.Write)
	})
	return err
}

// checkCapability returns a fault if Vault says that the token may not make a request.
func checkCapability(ctx context.Context, conn *session.Conn, r transport.Request, write bool) error {
	// In the session's namespace, where the policy "default" lets everybody ask, also for what is below.
	home, path := conn.In(""), cmp.Or(r.Shown, r.Path)
	question := newRequest(home, http.MethodPost, "sys/capabilities-self", "")
	question.Body = map[string]any{"paths": []string{path}}
	response, err := home.Call(ctx, question)
	if fault.Is(err, v1alpha1.ReasonPermissionDenied) {
		return nil // that is not what was asked
	}
	if err != nil {
		return fault.From(err).WithOutcomeUnknown(false) // it has no effect
	}
	held := transport.Texts(response.Data[path])
	wanted := []string{"root", "read"}
	if write {
		wanted = []string{"root", "create", "update"}
	}
	if !slices.ContainsFunc(held, func(capability string) bool { return slices.Contains(wanted, capability) }) {
		return fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s would be denied (%s)", r, r.Actor).
			WithRemedy("its policy needs %s on %s", r.Capability, path)
	}
	return nil
}
