package secrets

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
)

// List lists the names in a folder of a KV engine; an empty SecretPath is its top. A name that ends in a slash is a
// folder. Source: GET engine/metadata/path?list=true (KV version 2) or GET engine/path?list=true.
func List(ctx context.Context, s *session.Session, location Location) (*Secret, error) {
	return at(ctx, s, locateFolder, location, func(
		ctx context.Context, conn *session.Conn, folder kvPath,
	) (*Secret, error) {
		r := newRequest(conn, http.MethodGet, folder.folderPath(), `"list"`)
		r.Query = url.Values{"list": {"true"}}
		response, err := conn.Call(ctx, r)
		if response.Is(http.StatusNotFound) && !noEngine(response) {
			return nil, fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 nothing in this folder (%s)", r, r.Actor).
				WithRemedy("%s", cmp.Or(folder.shorter(), "correct secretPath, or write a secret there"))
		}
		if err != nil {
			return nil, err
		}
		return namesAsKeys(&Secret{Path: r.Path, RequestID: response.RequestID, Data: response.Data}), nil
	})
}

// namesAsKeys turns the response to a list into a Secret whose keys are the names.
func namesAsKeys(secret *Secret) *Secret {
	names, _ := secret.Data["keys"].([]any)
	secret.Data = make(map[string]any, len(names))
	for _, name := range names {
		if text, ok := name.(string); ok {
			secret.Data[text] = nil
		}
	}
	return secret
}
