package secrets

import (
	"context"
	"net/http"

	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// DeleteVersions deletes versions of a KV version 2 secret so that they can be undeleted. Vault accepts it as often as
// it is sent. Source: POST engine/delete/path.
func DeleteVersions(ctx context.Context, s *session.Session, location Location, versions []int64) (*Written, error) {
	return changeVersions(ctx, s, location, versions, http.MethodPost, "delete")
}

// UndeleteVersions brings deleted versions back. Source: POST engine/undelete/path.
func UndeleteVersions(ctx context.Context, s *session.Session, location Location, versions []int64) (*Written, error) {
	return changeVersions(ctx, s, location, versions, http.MethodPost, "undelete")
}

// DestroyVersions removes the content of versions for good. Source: PUT engine/destroy/path.
func DestroyVersions(ctx context.Context, s *session.Session, location Location, versions []int64) (*Written, error) {
	return changeVersions(ctx, s, location, versions, http.MethodPut, "destroy")
}

func changeVersions(
	ctx context.Context, s *session.Session, location Location, versions []int64, method, action string,
) (*Written, error) {
	return change(ctx, s, locateVersioned, location, func(conn *session.Conn, of kvPath) (transport.Request, string) {
		r := newRequest(conn, method, of.engine+"/"+action+"/"+of.path, `"update"`)
		r.Body = map[string]any{"versions": versions}
		return r, of.apiPath()
	})
}
