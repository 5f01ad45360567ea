package vault

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// List lists the names in a folder of a KV engine; an empty SecretPath is its top. A name that ends in a slash is a folder. Source:
// GET engine/metadata/path?list=true (KV version 2) or GET engine/path?list=true.
func (s *Session) List(ctx context.Context, location Location) (*Secret, error) {
	var secret *Secret
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		found, err := s.locateFolder(ctx, current, location)
		if err != nil {
			return err
		}
		r := request{
			method: http.MethodGet, path: found.folderPath(), query: url.Values{"list": {"true"}}, token: &current.token, capability: `"list"`, as: s.as(),
		}
		a, err := current.link.call(ctx, r)
		if a != nil && a.status == http.StatusNotFound && !a.noEngine() {
			return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 nothing in this folder (%s); correct secretPath, or write a secret there", r, r.as)
		}
		if err != nil {
			return err
		}
		secret = named(&Secret{Path: r.path, RequestID: a.RequestID, Data: a.Data})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// ConfirmFolder is Confirm for a decision about who may list there: the path is the one that List lists.
func (s *Session) ConfirmFolder(ctx context.Context, location Location) (path, kv2Engine string, err error) {
	err = s.do(ctx, func(ctx context.Context, current *identity) error {
		found, failure := s.locateFolder(ctx, current, location)
		if failure == nil && found.guessed {
			failure = s.unconfirmed(found, found.folderPath())
		}
		if failure != nil {
			return failure
		}
		path = found.folderPath()
		if found.version == v1alpha1.KVVersion2 {
			kv2Engine = found.engine
		}
		return nil
	})
	return path, kv2Engine, err
}

// locateFolder is locate for a folder; the engine's top has no path. A list has no form by which a wrong version would be noticed, and a
// folder of version 1 may be called data or metadata, so that Vault is asked even where Location says the version.
func (s *Session) locateFolder(ctx context.Context, current *identity, location Location) (place, error) {
	asked, stated := strings.Trim(location.SecretPath, "/"), location.KVVersion
	location.KVVersion = ""
	if asked == "" {
		location.SecretPath = "top" // only to find the engine, for which a path is wanted
	}
	found, err := s.locate(ctx, current, location)
	switch {
	case err != nil:
		return place{}, err
	case stated == "" || stated == found.version:
	case found.guessed:
		found = newPlace(found.engine, strings.Trim(location.SecretPath, "/"), stated)
		found.guessed = true
	default:
		return place{}, s.otherVersion(found, newPlace(found.engine, asked, stated).folderPath())
	}
	if asked == "" || asked+"/" == dataPrefix && found.version == v1alpha1.KVVersion2 {
		found.path = ""
	}
	return found, nil
}

// named turns the answer of a list into a Secret whose keys are the names.
func named(secret *Secret) *Secret {
	names, _ := secret.Data["keys"].([]any)
	secret.Data = make(map[string]any, len(names))
	for _, name := range names {
		if text, ok := name.(string); ok {
			secret.Data[text] = nil
		}
	}
	return secret
}
