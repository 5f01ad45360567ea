package vault

import (
	"context"
	"net/http"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// KVVersion returns the version of a Location's engine. If Vault does not tell it, what Location states is returned, which may be
// nothing.
func (s *Session) KVVersion(ctx context.Context, location Location) (v1alpha1.KVVersion, error) {
	var version v1alpha1.KVVersion
	location.Version = 0
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		found, err := s.locate(ctx, current, location)
		if version = found.version; found.guessed {
			version = location.KVVersion
		}
		return err
	})
	return version, err
}

// Patch changes the keys of changes in a KV version 2 secret, provided that its current version is cas; a nil value removes a key.
// Source: PATCH engine/data/path with options.cas. It is sent and may fail as Write does.
func (s *Session) Patch(ctx context.Context, location Location, changes map[string]any, cas int64) (*Written, error) {
	return s.writeVersion(ctx, http.MethodPatch, `"patch"`, location, changes, cas)
}

// WriteUnversioned writes a KV version 1 secret; all of its keys are replaced. Source: POST engine/path. It is sent at most once. Vault has
// no way to make it depend on what is there.
func (s *Session) WriteUnversioned(ctx context.Context, location Location, data map[string]any) (*Written, error) {
	var written *Written
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		to, err := s.locateUnversioned(ctx, current, location)
		if err != nil {
			return err
		}
		r := request{
			method: http.MethodPost, path: to.apiPath(), body: data, token: &current.token,
			capability: `"create" and "update"`, as: s.as(),
		}
		a, err := current.link.call(ctx, r)
		if err != nil {
			return to.explain(notFoundIn(r, a, to, err))
		}
		written = &Written{Path: to.apiPath(), RequestID: a.RequestID}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// DeleteUnversioned deletes a KV version 1 secret for good. Source: DELETE engine/path.
func (s *Session) DeleteUnversioned(ctx context.Context, location Location) (*Written, error) {
	var written *Written
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		from, err := s.locateUnversioned(ctx, current, location)
		if err != nil {
			return err
		}
		r := request{method: http.MethodDelete, path: from.apiPath(), token: &current.token, capability: `"delete"`, as: s.as()}
		a, err := current.link.call(ctx, r)
		if err != nil {
			return from.explain(notFoundIn(r, a, from, err))
		}
		written = &Written{Path: from.apiPath(), RequestID: a.RequestID}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// locateUnversioned is locate for what changes a KV version 1 secret.
func (s *Session) locateUnversioned(ctx context.Context, current *identity, location Location) (place, error) {
	found, err := s.locate(ctx, current, location)
	if err == nil && found.version != v1alpha1.KVVersion1 {
		return place{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "the engine at %s is not KV version 1 (%s)", found.engine, s.as())
	}
	return found, err
}

// notFoundIn describes a 404 of a request that changes something; any other error stays as it is.
func notFoundIn(r request, a *answer, in place, err error) error {
	if a != nil && a.status == http.StatusNotFound {
		return notFound(r, a, in, 0)
	}
	return err
}
