package vault

import (
	"context"
	"net/http"
	"net/url"
)

// ReadPath reads any path of Vault's API. Source: GET path. The answer's data is in the Secret.
func (s *Session) ReadPath(ctx context.Context, path string) (*Secret, error) {
	return s.generic(ctx, request{method: http.MethodGet, path: path, capability: `"read"`})
}

// WritePath writes to any path of Vault's API. It is sent at most once, except that a refusal for a token which was replaced in
// the meantime (403) is tried with the new one. Source: POST path.
func (s *Session) WritePath(ctx context.Context, path string, data map[string]any) (*Secret, error) {
	return s.generic(ctx, request{method: http.MethodPost, path: path, body: data, capability: `"create" or "update"`})
}

// DeletePath deletes any path of Vault's API; it is sent as WritePath is. Source: DELETE path.
func (s *Session) DeletePath(ctx context.Context, path string) (*Secret, error) {
	return s.generic(ctx, request{method: http.MethodDelete, path: path, capability: `"delete"`})
}

// ListPath lists any path of Vault's API, and returns the names in the Secret's Data as keys. Source: GET path?list=true.
func (s *Session) ListPath(ctx context.Context, path string) (*Secret, error) {
	secret, err := s.generic(ctx, request{
		method: http.MethodGet, path: path, query: url.Values{"list": {"true"}}, capability: `"list"`,
	})
	if err != nil {
		return nil, err
	}
	return named(secret), nil
}

func (s *Session) generic(ctx context.Context, r request) (*Secret, error) {
	path, err := cleanPath("path", r.path)
	if err != nil {
		return nil, err
	}
	r.path, r.as = path, s.as()
	var secret *Secret
	err = s.do(ctx, func(ctx context.Context, current *identity) error {
		r := r
		r.token = &current.token
		a, callErr := current.link.call(ctx, r)
		if callErr != nil {
			return callErr
		}
		secret = &Secret{Path: r.path, RequestID: a.RequestID, Data: a.Data}
		if a.Auth != nil || a.WrapInfo != nil { // a token of somebody's own, which is not for a task to hand out
			secret.Data = nil
		}
		if secret.Data == nil {
			secret.Data = map[string]any{}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// SystemPath returns the part of a path that may lead to Vault's own API (sys, auth, identity, cubbyhole) and not to a secrets engine, or
// nothing.
func SystemPath(path string) string { return vaultsOwn(path) }
