package vault

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// readerPaths are what Vault's engines call the paths that make a credential for whoever reads them: database/creds/app, aws/sts/deploy.
var readerPaths = []string{"creds", "sts"}

// Issued is a secret that was made for one reader.
type Issued struct {
	// Secret has neither version nor time.
	Secret Secret
	// Lease is the zero Lease if the secret has none.
	Lease Lease
	// ExpireTime is when a secret without a lease ends by itself, such as a certificate; zero if it does not say.
	ExpireTime time.Time
	// Token that made it: a lease ends with it.
	Token TokenTerm
}

// Format prints path and version for every verb.
func (i Issued) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, i.Secret.String()) }

// TokenTerm is which token a session has, and how long it lives as of now.
type TokenTerm struct {
	// ID is a random name that this process gave the token; it says nothing of the token.
	ID string
	// ExpireTime is when the token dies if it is not renewed; zero: never.
	ExpireTime time.Time
}

// TokenTerm returns the term of the session's token; zero while there is none.
func (s *Session) TokenTerm() TokenTerm {
	current := s.currentIdentity()
	if current == nil {
		return TokenTerm{}
	}
	return current.term()
}

func (i *identity) term() TokenTerm { return TokenTerm{ID: i.usage.id, ExpireTime: i.info.ExpireTime} }

// IssuedPerReader tells whether what is at the location is made for each reader, so that to read it has an effect: it is written to, or is a
// path of that kind by the convention of Vault's engines, or made a lease before.
func (s *Session) IssuedPerReader(ctx context.Context, location Location) (bool, error) {
	if location.Write {
		return true, nil
	}
	perReader := false
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		found, err := s.locate(ctx, current, location)
		first, _, deeper := strings.Cut(found.path, "/")
		perReader = err == nil && (found.version == notKV && deeper && slices.Contains(readerPaths, first) || s.madeLease(found))
		return err
	})
	return perReader, err
}

// Issue has an engine make a secret for one reader, by a read or a write. It is sent at most once, except that a refusal (403) for a token which was
// replaced in the meantime is tried with the new one. The token that it is made with is not revoked by this process any more: the lease would
// end with it.
//
// Errors are faults. Source: GET or POST engine/path.
func (s *Session) Issue(ctx context.Context, location Location) (*Issued, error) {
	var issued *Issued
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		r, found, err := s.issuing(ctx, current, location)
		if err != nil {
			return err
		}
		a, err := current.link.call(ctx, r)
		switch {
		case a != nil && a.status == http.StatusNotFound:
			return notFound(r, a, found, 0)
		case err != nil:
			return found.explain(err)
		case a.LeaseID == "" && (a.Auth != nil || a.WrapInfo != nil):
			return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d not a secret, but a token that was made for this request (%s); correct enginePath and secretPath",
				r, a.status, r.as)
		case len(a.Data) == 0:
			return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d without data (%s); use a path that answers, or a VaultTask for what has only an effect", r, a.status, r.as)
		}
		issued = &Issued{Secret: Secret{Path: found.apiPath(), RequestID: a.RequestID, Data: a.Data}, Token: current.term()}
		if a.LeaseID != "" {
			issued.Lease = Lease{ID: NewLeaseID(a.LeaseID), Duration: time.Duration(a.LeaseDuration) * time.Second, Renewable: a.Renewable}
			current.usage.outlive()
			s.rememberLease(current, found)
		} else if ends := time.Unix(number(a.Data["expiration"]), 0); ends.After(s.sessions.clock.Now()) { // as pki says of its certificates
			issued.ExpireTime = ends
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return issued, nil
}

// issuing makes the request of Issue.
func (s *Session) issuing(ctx context.Context, current *identity, location Location) (request, place, error) {
	found, err := s.locate(ctx, current, location)
	if err != nil {
		return request{}, place{}, err
	}
	r := s.get(found.apiPath(), current)
	// Vault's own reason is not repeated: nobody knows what an engine's plugin puts into it.
	r.cure = "check the path; vault read " + r.path + " shows Vault's reason"
	if !location.Write {
		return r, found, nil
	}
	switch {
	case found.guessed:
		return request{}, place{}, fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s: Vault does not tell this token which engine is at %s (%s), so it has no right there, or there is "+
			"none; its policy needs \"create\" or \"update\" on %[1]s", found.apiPath(), found.engine, s.as())
	case found.version != notKV:
		return request{}, place{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "method POST on %s: the engine at %s is KV (%s), where a write changes the secret; "+
			"leave out method, or write with a VaultTask", found.apiPath(), found.engine, s.as())
	}
	r.method, r.capability = http.MethodPost, `"create" or "update"`
	r.cure = "check path and parameters; vault write with the same shows Vault's reason"
	parameters := location.Parameters
	if parameters == nil {
		parameters = map[string]any{}
	}
	r.body = parameters
	return r, found, nil
}

// MayIssue returns nil if the policies of the session's token allow Issue, as far as Vault tells. Nothing is made. Source: POST
// sys/capabilities-self.
func (s *Session) MayIssue(ctx context.Context, location Location) error {
	return s.do(ctx, func(ctx context.Context, current *identity) error {
		r, _, err := s.issuing(ctx, current, location)
		if err != nil {
			return err
		}
		a, err := current.link.call(ctx, request{
			method: http.MethodPost, path: "sys/capabilities-self", body: map[string]any{"paths": []string{r.path}}, token: &current.token, as: s.as(),
		})
		if fault.Is(err, v1alpha1.ReasonPermissionDenied) {
			return nil // that is not what was asked
		}
		if err != nil {
			return settled(err)
		}
		granted := texts(a.Data[r.path])
		wanted := []string{"root", "read"}
		if location.Write {
			wanted = []string{"root", "create", "update"}
		}
		if !slices.ContainsFunc(granted, func(g string) bool { return slices.Contains(wanted, g) }) {
			return fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s would be denied (%s); its policy needs %s on %s", r, r.as, r.capability, r.path)
		}
		return nil
	})
}
