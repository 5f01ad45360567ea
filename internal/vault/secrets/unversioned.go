package secrets

import (
	"context"
	"net/http"

	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// WriteUnversioned writes a KV version 1 secret; all of its keys are replaced. Source: POST engine/path. It is sent at
// most once. Vault has no way to make it depend on what is there.
func WriteUnversioned(
	ctx context.Context, s *session.Session, location Location, data map[string]any,
) (*Written, error) {
	return change(ctx, s, locateUnversioned, location, func(conn *session.Conn, to kvPath) (transport.Request, string) {
		r := newRequest(conn, http.MethodPost, to.apiPath(), `"create" and "update"`)
		r.Body = data
		return r, to.apiPath()
	})
}

// DeleteUnversioned deletes a KV version 1 secret for good. Source: DELETE engine/path.
func DeleteUnversioned(ctx context.Context, s *session.Session, location Location) (*Written, error) {
	return change(ctx, s, locateUnversioned, location, func(conn *session.Conn, from kvPath) (transport.Request, string) {
		return newRequest(conn, http.MethodDelete, from.apiPath(), `"delete"`), from.apiPath()
	})
}
