package secrets

import (
	"context"
	"net/http"
	"net/url"

	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// ReadPath reads any path of Vault's API. Source: GET path. The response's data is in the Secret.
func ReadPath(ctx context.Context, s *session.Session, path string) (*Secret, error) {
	return generic(ctx, s, transport.Request{Method: http.MethodGet, Path: path, Capability: `"read"`})
}

// WritePath writes to any path of Vault's API. It is sent at most once, except that a denial for a token which was
// replaced in the meantime (403) is tried with the new one. Source: POST path.
func WritePath(ctx context.Context, s *session.Session, path string, data map[string]any) (*Secret, error) {
	return generic(
		ctx, s, transport.Request{Method: http.MethodPost, Path: path, Body: data, Capability: `"create" or "update"`},
	)
}

// DeletePath deletes any path of Vault's API; it is sent as WritePath is. Source: DELETE path.
func DeletePath(ctx context.Context, s *session.Session, path string) (*Secret, error) {
	return generic(ctx, s, transport.Request{Method: http.MethodDelete, Path: path, Capability: `"delete"`})
}

// ListPath lists any path of Vault's API, and returns the names in the Secret's Data as keys. Source: GET
// path?list=true.
func ListPath(ctx context.Context, s *session.Session, path string) (*Secret, error) {
	secret, err := generic(ctx, s, transport.Request{
		Method: http.MethodGet, Path: path, Query: url.Values{"list": {"true"}}, Capability: `"list"`,
	})
	if err != nil {
		return nil, err
	}
	return namesAsKeys(secret), nil
}

func generic(ctx context.Context, s *session.Session, r transport.Request) (*Secret, error) {
	path, err := transport.CleanPath("path", r.Path)
	if err != nil {
		return nil, err
	}
	r.Path = path
	response, err := call(ctx, s, r)
	if err != nil {
		return nil, explainGeneric(r, response, err)
	}
	secret := &Secret{
		Path: r.Path, RequestID: response.RequestID, Data: response.Data, Leased: response.LeaseID != "",
	}
	if response.Auth != nil || response.WrapInfo != nil { // a token of somebody's own, which is not for a task to hand out
		secret.Data = nil
	}
	if secret.Data == nil {
		secret.Data = map[string]any{}
	}
	return secret, nil
}

// call makes one request with the session's token, and returns what conn.Call does.
func call(ctx context.Context, s *session.Session, r transport.Request) (*transport.Response, error) {
	var response *transport.Response
	err := s.Do(ctx, func(ctx context.Context, conn *session.Conn) error {
		var err error
		response, err = conn.Call(ctx, r)
		return err
	})
	return response, err
}
