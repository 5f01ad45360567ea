package secrets

import (
	"context"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
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

// Write writes a new version of a KV version 2 secret, provided that its current version is cas; 0 means that the
// secret does not exist. Source: POST engine/data/path with options.cas. It is sent at most once, except that a denial
// for a token which was replaced in the meantime (403) is tried with the new one.
//
// Errors are faults; CASMismatch if the current version is another. If OutcomeUnknown(err), the write may have
// happened.
func Write(
	ctx context.Context, s *session.Session, location Location, data map[string]any, cas int64,
) (*Written, error) {
	return writeVersion(ctx, s, location, data, cas, http.MethodPost, `"create" and "update"`)
}

// Patch changes the keys of changes in a KV version 2 secret, provided that its current version is cas; a nil value
// removes a key. Source: PATCH engine/data/path with options.cas. It is sent and may fail as Write does.
func Patch(
	ctx context.Context, s *session.Session, location Location, changes map[string]any, cas int64,
) (*Written, error) {
	return writeVersion(ctx, s, location, changes, cas, http.MethodPatch, `"patch"`)
}

// writeVersion makes the request of Write or Patch.
func writeVersion(
	ctx context.Context, s *session.Session, location Location, data map[string]any, cas int64, method, capability string,
) (*Written, error) {
	return at(ctx, s, locateVersioned, location, func(
		ctx context.Context, conn *session.Conn, to kvPath,
	) (*Written, error) {
		r := newRequest(conn, method, to.apiPath(), capability)
		r.Body = map[string]any{"data": data, "options": map[string]any{"cas": cas}}
		response, err := conn.Call(ctx, r)
		if response.Is(http.StatusNotFound) {
			return nil, notFound(r, response, to, 0)
		}
		if err != nil {
			return nil, to.explain(err)
		}
		version, created := versionOf(response.Data)
		if version == 0 {
			return nil, fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d without a version (%s); the engine is not KV version 2",
				r, response.Status, r.Actor).WithOutcomeUnknown(true)
		}
		return &Written{Version: version, CreatedTime: created, Path: to.apiPath(), RequestID: response.RequestID}, nil
	})
}

// change makes a request that changes something at a located path, and whose response says nothing but that it was
// done.
func change(
	ctx context.Context, s *session.Session, locate locator, location Location,
	build func(conn *session.Conn, at kvPath) (r transport.Request, shownPath string),
) (*Written, error) {
	return at(ctx, s, locate, location, func(ctx context.Context, conn *session.Conn, found kvPath) (*Written, error) {
		r, shownPath := build(conn, found)
		response, err := conn.Call(ctx, r)
		if err != nil {
			return nil, found.explain(explainNotFound(r, response, found, err))
		}
		return &Written{Path: shownPath, RequestID: response.RequestID}, nil
	})
}
