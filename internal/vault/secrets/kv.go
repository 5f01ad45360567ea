package secrets

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Read reads a secret. Source: GET engine/data/path (KV version 2) or GET engine/path (version 1, and every other
// engine). What comes with a lease is refused.
//
// Errors are faults. SecretNotFound says whether there is nothing at all at the path or the version is deleted or
// destroyed; PermissionDenied that the token is good and the policy lacks "read"; AuthFailed that the token is dead.
func Read(ctx context.Context, s *session.Session, location Location) (*Secret, error) {
	return at(ctx, s, locate, location, func(ctx context.Context, conn *session.Conn, found kvPath) (*Secret, error) {
		secret, err := readAt(ctx, conn, found, location.Version)
		return secret, found.explain(err)
	})
}

func readAt(ctx context.Context, conn *session.Conn, from kvPath, version int64) (*Secret, error) {
	r := newRequest(conn, http.MethodGet, from.apiPath(), `"read"`)
	if makesOne, _ := makes(conn, from); makesOne {
		return nil, leaseRefused(r)
	}
	if version != 0 && from.version == v1alpha1.KVVersion2 {
		r.Query = url.Values{"version": {strconv.FormatInt(version, 10)}}
	}
	response, err := conn.Call(ctx, r)
	switch {
	case response.Is(http.StatusNotFound):
		return nil, notFound(r, response, from, version)
	case err != nil:
		return nil, err
	case response.LeaseID != "":
		return nil, refuseLease(ctx, conn, from, r, response.LeaseID)
	case from.version == notKV && isAccessToken(response.Data):
		rememberLease(conn, from)
		return nil, leaseRefused(r)
	case response.Auth != nil || response.WrapInfo != nil:
		return nil, tokenAnswered(r, response)
	}
	secret := &Secret{Path: from.apiPath(), RequestID: response.RequestID, Data: response.Data}
	if from.version == v1alpha1.KVVersion2 {
		metadata, isVersioned := response.Data["metadata"].(map[string]any)
		if !isVersioned {
			return nil, fault.Waiting(v1alpha1.ReasonInvalidRequest,
				"%s → %d not a KV version 2 secret (%s); the engine at %s seems to be KV version 1", r, response.Status, r.Actor, from.engine)
		}
		secret.Data, _ = response.Data["data"].(map[string]any)
		secret.Version, secret.CreatedTime = versionOf(metadata)
	}
	if from.version == notKV {
		describeRole(secret, from.path)
	}
	if secret.Data == nil {
		secret.Data = map[string]any{}
	}
	return secret, nil
}

// tokenAnswered refuses a response that holds no secret, but a token.
func tokenAnswered(r transport.Request, response *transport.Response) error {
	return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d not a secret, but a token that was made for this request (%s)",
		r, response.Status, r.Actor).WithRemedy("correct enginePath and secretPath")
}

// CurrentVersion returns the number of a KV version 2 secret's newest version, for use as cas; 0 if there never was
// one. Deleted and destroyed versions count. Source: GET engine/metadata/path, or GET engine/data/path where the policy
// does not allow the former.
func CurrentVersion(ctx context.Context, s *session.Session, location Location) (int64, error) {
	return at(ctx, s, locateVersioned, location, func(
		ctx context.Context, conn *session.Conn, found kvPath,
	) (int64, error) {
		version, err := newestVersion(ctx, conn, found)
		return version, found.explain(err)
	})
}

func newestVersion(ctx context.Context, conn *session.Conn, of kvPath) (int64, error) {
	response, err := conn.Call(ctx, newRequest(conn, http.MethodGet, of.metadataPath(), `"read"`))
	switch {
	case err == nil:
		return transport.Number(response.Data["current_version"]), nil
	case response.Is(http.StatusNotFound) && !noEngine(response):
		return 0, nil
	case !fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return 0, err
	}
	response, err = conn.Call(ctx, newRequest(conn, http.MethodGet, of.apiPath(), `"read"`))
	if response == nil || err != nil && (response.Status != http.StatusNotFound || noEngine(response)) {
		return 0, err
	}
	// A deleted version is told with the 404.
	metadata, _ := response.Data["metadata"].(map[string]any)
	version, _ := versionOf(metadata)
	return version, nil
}
