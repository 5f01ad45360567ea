package vault

import (
	"context"
	"net/http"
)

// DeleteVersions deletes versions of a KV version 2 secret so that they can be undeleted. Vault accepts it as often as it is sent.
// Source: POST engine/delete/path.
func (s *Session) DeleteVersions(ctx context.Context, location Location, versions []int64) (*Written, error) {
	return s.changeVersions(ctx, http.MethodPost, "delete", location, versions)
}

// UndeleteVersions brings deleted versions back. Source: POST engine/undelete/path.
func (s *Session) UndeleteVersions(ctx context.Context, location Location, versions []int64) (*Written, error) {
	return s.changeVersions(ctx, http.MethodPost, "undelete", location, versions)
}

// DestroyVersions removes the content of versions for good. Source: PUT engine/destroy/path.
func (s *Session) DestroyVersions(ctx context.Context, location Location, versions []int64) (*Written, error) {
	return s.changeVersions(ctx, http.MethodPut, "destroy", location, versions)
}

func (s *Session) changeVersions(ctx context.Context, method, action string, location Location, versions []int64) (*Written, error) {
	var written *Written
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		of, err := s.locateVersioned(ctx, current, location)
		if err != nil {
			return err
		}
		r := request{
			method: method, path: of.engine + "/" + action + "/" + of.path, body: map[string]any{"versions": versions},
			token: &current.token, capability: `"update"`, as: s.as(),
		}
		a, err := current.link.call(ctx, r)
		if err != nil {
			return of.explain(notFoundIn(r, a, of, err))
		}
		written = &Written{Path: of.apiPath(), RequestID: a.RequestID}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}
