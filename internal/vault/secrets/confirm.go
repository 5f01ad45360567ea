package secrets

import (
	"context"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
)

// APIPath returns the path of a secret as Vault's API has it, engine included: secret/data/oracle for both spellings of
// a KV version 2 path. The same secret gives the same path, so that it can be a key for caching. It asks Vault only for
// the engine's version, where Location leaves it open and the session has not asked lately.
func APIPath(ctx context.Context, s *session.Session, location Location) (string, error) {
	return at(ctx, s, locate, location, func(_ context.Context, _ *session.Conn, found kvPath) (string, error) {
		return found.apiPath(), nil
	})
}

// KVVersion returns the version of a Location's engine. If Vault does not tell it, what Location states is returned,
// which may be nothing.
func KVVersion(ctx context.Context, s *session.Session, location Location) (v1alpha1.KVVersion, error) {
	location.Version = 0
	return at(ctx, s, locate, location, func(
		_ context.Context, _ *session.Conn, found kvPath,
	) (v1alpha1.KVVersion, error) {
		if found.guessed {
			return location.KVVersion, nil
		}
		return found.version, nil
	})
}

// confirmedPath is a path that Vault itself confirmed, and its engine if that is KV version 2.
type confirmedPath struct{ path, kv2Engine string }

// Confirm is APIPath for a decision about who may read there: it believes of the engine only what Vault itself says of
// it, and returns the engine's mount path too if that is KV version 2. The path is the one that Read reads.
func Confirm(ctx context.Context, s *session.Session, location Location) (path, kv2Engine string, err error) {
	result, err := at(ctx, s, locate, location, func(
		ctx context.Context, conn *session.Conn, found kvPath,
	) (confirmedPath, error) {
		open := location
		open.KVVersion = ""
		confirmed, failure := locate(ctx, conn, open)
		switch {
		case failure != nil:
			return confirmedPath{}, failure
		case confirmed.guessed:
			return confirmedPath{}, unconfirmed(conn, found, found.apiPath())
		case confirmed.apiPath() != found.apiPath():
			return confirmedPath{}, otherVersion(conn, confirmed, found.apiPath())
		}
		return newConfirmedPath(found.apiPath(), confirmed), nil
	})
	return result.path, result.kv2Engine, err
}

// ConfirmFolder is Confirm for a decision about who may list there: the path is the one that List lists.
func ConfirmFolder(ctx context.Context, s *session.Session, location Location) (path, kv2Engine string, err error) {
	result, err := at(ctx, s, locateFolder, location, func(
		_ context.Context, conn *session.Conn, found kvPath,
	) (confirmedPath, error) {
		if found.guessed {
			return confirmedPath{}, unconfirmed(conn, found, found.folderPath())
		}
		return newConfirmedPath(found.folderPath(), found), nil
	})
	return result.path, result.kv2Engine, err
}

func newConfirmedPath(path string, confirmed kvPath) confirmedPath {
	if confirmed.version == v1alpha1.KVVersion2 {
		return confirmedPath{path, confirmed.engine}
	}
	return confirmedPath{path: path}
}

// unconfirmed refuses a path of an engine of which Vault does not tell.
func unconfirmed(conn *session.Conn, found kvPath, path string) error {
	return fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s: Vault does not tell this token of a KV engine at %s (%s)",
		path, found.engine, conn.Actor()).WithRemedy("let its policy use that engine, or correct enginePath")
}
