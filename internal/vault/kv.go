package vault

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Location names a secret of a KV engine, or what another engine answers to a read.
type Location struct {
	// EnginePath is where the engine is mounted, for example secret. Slashes around it do not matter.
	EnginePath string
	// SecretPath inside the engine. For KV version 2, data/oracle (as Vault's API has it) and oracle (as its command line has
	// it) mean the same.
	SecretPath string
	// KVVersion of the engine; empty: ask Vault.
	KVVersion v1alpha1.KVVersion
	// Version of the secret, KV version 2 only; zero: the latest.
	Version int64
	// KVOnly refuses an engine of another type, whatever it would answer.
	KVOnly bool
	// Write asks the engine by a write with Parameters, for Issue only. No KV engine is written to.
	Write bool
	// Parameters of the write; no secrets.
	Parameters map[string]any
}

// Read reads a secret. Source: GET engine/data/path (KV version 2) or GET engine/path (version 1, and every other engine). What comes with a
// lease is refused.
//
// Errors are faults. SecretNotFound says whether there is nothing at all at the path or the version is deleted or destroyed;
// PermissionDenied that the token is good and the policy lacks "read"; AuthFailed that the token is dead.
func (s *Session) Read(ctx context.Context, location Location) (*Secret, error) {
	var secret *Secret
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		found, err := s.locate(ctx, current, location)
		if err != nil {
			return err
		}
		secret, err = s.readAt(ctx, current, found, location.Version)
		return found.explain(err)
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// APIPath returns the path of a secret as Vault's API has it, engine included: secret/data/oracle for both
// spellings of a KV version 2 path. The same secret gives the same path, so that it can be a key for caching. It asks Vault only for
// the engine's version, where Location leaves it open and the session has not asked lately.
func (s *Session) APIPath(ctx context.Context, location Location) (string, error) {
	var path string
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		found, err := s.locate(ctx, current, location)
		path = found.apiPath()
		return err
	})
	if err != nil {
		return "", err
	}
	return path, nil
}

// Confirm is APIPath for a decision about who may read there: it believes of the engine only what Vault itself says of it, and
// returns the engine's mount path too if that is KV version 2. The path is the one that Read reads.
func (s *Session) Confirm(ctx context.Context, location Location) (path, kv2Engine string, err error) {
	err = s.do(ctx, func(ctx context.Context, current *identity) error {
		found, failure := s.locate(ctx, current, location)
		if failure != nil {
			return failure
		}
		open := location
		open.KVVersion = ""
		confirmed, failure := s.locate(ctx, current, open)
		switch {
		case failure != nil:
			return failure
		case confirmed.guessed:
			return s.unconfirmed(found, found.apiPath())
		case confirmed.apiPath() != found.apiPath():
			return s.otherVersion(confirmed, found.apiPath())
		}
		path = found.apiPath()
		if confirmed.version == v1alpha1.KVVersion2 {
			kv2Engine = found.engine
		}
		return nil
	})
	return path, kv2Engine, err
}

// unconfirmed refuses a path of an engine of which Vault does not tell.
func (s *Session) unconfirmed(found place, path string) error {
	return fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s: Vault does not tell this token of a KV engine at %s (%s); let its policy use that engine, "+
		"or correct enginePath", path, found.engine, s.as())
}

// otherVersion refuses a path that is written for another version than the engine's.
func (s *Session) otherVersion(found place, path string) error {
	return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s: the engine at %s is KV version %s (%s); leave out kvVersion, or set it to %s",
		path, found.engine, strings.TrimPrefix(string(found.version), "V"), s.as(), found.version)
}

// CurrentVersion returns the number of a KV version 2 secret's newest version, for use as cas; 0 if there never was one.
// Deleted and destroyed versions count. Source: GET engine/metadata/path, or GET engine/data/path where the policy does not
// allow the former.
func (s *Session) CurrentVersion(ctx context.Context, location Location) (int64, error) {
	var version int64
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		found, err := s.locateVersioned(ctx, current, location)
		if err != nil {
			return err
		}
		version, err = s.newestVersion(ctx, current, found)
		return found.explain(err)
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

func (s *Session) get(path string, current *identity) request {
	return request{method: http.MethodGet, path: path, token: &current.token, capability: `"read"`, as: s.as()}
}

func (s *Session) readAt(ctx context.Context, current *identity, from place, version int64) (*Secret, error) {
	r := s.get(from.apiPath(), current)
	if s.madeLease(from) {
		return nil, leaseRefused(r)
	}
	if version != 0 && from.version == v1alpha1.KVVersion2 {
		r.query = url.Values{"version": {strconv.FormatInt(version, 10)}}
	}
	a, err := current.link.call(ctx, r)
	switch {
	case a != nil && a.status == http.StatusNotFound:
		return nil, notFound(r, a, from, version)
	case err != nil:
		return nil, err
	}
	switch {
	case a.LeaseID != "":
		return nil, s.refuseLease(ctx, current, from, r, a.LeaseID)
	case a.Auth != nil || a.WrapInfo != nil:
		return nil, fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d not a secret, but a token that was made for this request (%s); correct enginePath and secretPath",
			r, a.status, r.as)
	}
	secret := &Secret{Path: from.apiPath(), RequestID: a.RequestID, Data: a.Data}
	if from.version == v1alpha1.KVVersion2 {
		metadata, isVersioned := a.Data["metadata"].(map[string]any)
		if !isVersioned {
			return nil, fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d not a KV version 2 secret (%s); the engine at %s seems to be KV version 1",
				r, a.status, r.as, from.engine)
		}
		secret.Data, _ = a.Data["data"].(map[string]any)
		secret.Version, secret.CreatedTime = versionOf(metadata)
	}
	if secret.Data == nil {
		secret.Data = map[string]any{}
	}
	return secret, nil
}

func (s *Session) newestVersion(ctx context.Context, current *identity, of place) (int64, error) {
	a, err := current.link.call(ctx, s.get(of.metadataPath(), current))
	switch {
	case err == nil:
		return number(a.Data["current_version"]), nil
	case a != nil && a.status == http.StatusNotFound && !a.noEngine():
		return 0, nil
	case !fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return 0, err
	}
	r := s.get(of.apiPath(), current)
	a, err = current.link.call(ctx, r)
	if a == nil || err != nil && (a.status != http.StatusNotFound || a.noEngine()) {
		return 0, err
	}
	// A deleted version is told with the 404.
	metadata, _ := a.Data["metadata"].(map[string]any)
	version, _ := versionOf(metadata)
	return version, nil
}

// locateVersioned is locate for what only KV version 2 can do. Whatever Location says, Vault is asked for the version if it
// tells: a version 1 engine would take a version 2 write for a secret of its own, and store it under data/.
func (s *Session) locateVersioned(ctx context.Context, current *identity, location Location) (place, error) {
	stated := location.KVVersion
	location.KVVersion = ""
	found, err := s.locate(ctx, current, location)
	switch {
	case err != nil:
		return place{}, err
	case found.guessed:
		versioned := newPlace(found.engine, found.path, v1alpha1.KVVersion2)
		versioned.guessed = stated != v1alpha1.KVVersion2
		return versioned, nil
	case found.version != v1alpha1.KVVersion2:
		return place{}, fault.Waiting(v1alpha1.ReasonInvalidRequest,
			"the engine at %s is %s, and this needs version 2 (%s); upgrade it, or use another engine", found.engine, kindOf(found.version), s.as())
	}
	return found, nil
}

func versionOf(metadata map[string]any) (int64, time.Time) {
	written, _ := metadata["created_time"].(string)
	created, _ := time.Parse(time.RFC3339Nano, written) // zero if Vault does not say
	return number(metadata["version"]), created
}
