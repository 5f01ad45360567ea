package vault

import (
	"context"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Written says what a Write did.
type Written struct {
	// Version that was written.
	Version int64
	// CreatedTime is when Vault wrote it, by Vault's clock.
	CreatedTime time.Time
	// Path as Vault's API has it, engine included.
	Path string
	// RequestID is Vault's ID of the request, to be found in its audit log.
	RequestID string
}

// Write writes a new version of a KV version 2 secret, provided that its current version is cas; 0 means that the secret
// does not exist. Source: POST engine/data/path with options.cas. It is sent at most once, except that a refusal for a token
// which was replaced in the meantime (403) is tried with the new one.
//
// Errors are faults; CASMismatch if the current version is another. If OutcomeUnknown(err), the write may have happened.
func (s *Session) Write(ctx context.Context, location Location, data map[string]any, cas int64) (*Written, error) {
	return s.writeVersion(ctx, http.MethodPost, `"create" and "update"`, location, data, cas)
}

// writeVersion makes the request of Write or Patch.
func (s *Session) writeVersion(
	ctx context.Context, method, capability string, location Location, data map[string]any, cas int64,
) (*Written, error) {
	var written *Written
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		to, err := s.locateVersioned(ctx, current, location)
		if err != nil {
			return err
		}
		r := request{
			method:     method,
			path:       to.apiPath(),
			body:       map[string]any{"data": data, "options": map[string]any{"cas": cas}},
			token:      &current.token,
			capability: capability,
			as:         s.as(),
		}
		a, err := current.link.call(ctx, r)
		if a != nil && a.status == http.StatusNotFound {
			return notFound(r, a, to, 0)
		}
		if err != nil {
			return to.explain(err)
		}
		version, created := versionOf(a.Data)
		if version == 0 {
			return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d without a version (%s); the engine is not KV version 2",
				r, a.status, r.as).WithOutcomeUnknown(true)
		}
		written = &Written{Version: version, CreatedTime: created, Path: to.apiPath(), RequestID: a.RequestID}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}
