package secrets

import (
	"context"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// locator checks a Location and finds the version of its engine.
type locator func(ctx context.Context, conn *session.Conn, location Location) (kvPath, error)

// at uses a located path with the session's token.
func at[T any](
	ctx context.Context, s *session.Session, locate locator, location Location,
	use func(ctx context.Context, conn *session.Conn, found kvPath) (T, error),
) (T, error) {
	var result, none T
	err := s.Do(ctx, func(ctx context.Context, conn *session.Conn) error {
		conn = conn.In(location.Below)
		if err := conn.CheckNamespace(ctx); err != nil {
			return err
		}
		found, err := locate(ctx, conn, location)
		if err != nil {
			return err
		}
		result, err = use(ctx, conn, found)
		return err
	})
	if err != nil {
		return none, explainVersion("enginePath", location.EnginePath, err)
	}
	return result, nil
}

// locate is the locator for what any engine can do.
func locate(ctx context.Context, conn *session.Conn, location Location) (kvPath, error) {
	enginePath, err := transport.CleanPath("enginePath", location.EnginePath)
	if err != nil {
		return kvPath{}, err
	}
	path, err := transport.CleanPath("secretPath", location.SecretPath)
	if err != nil {
		return kvPath{}, err
	}
	version, guessed, err := versionAt(ctx, conn, enginePath, path, location.KVVersion)
	if err != nil {
		return kvPath{}, err
	}
	if version == notKV && location.KVOnly {
		return kvPath{}, fault.Waiting(
			v1alpha1.ReasonInvalidRequest, "the secrets engine at %s is not KV (%s)", enginePath, conn.Actor(),
		).
			WithRemedy("set enginePath to a KV engine")
	}
	found := newKVPath(enginePath, path, version)
	found.guessed = guessed
	if location.Version != 0 && version != v1alpha1.KVVersion2 && !guessed {
		return kvPath{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "version %d of %s: the engine is %s, which keeps no versions (%s)",
			location.Version, found.apiPath(), versionName(version), conn.Actor()).WithRemedy("leave out version")
	}
	return found, nil
}

// versionAt returns the version to use for an engine: what is stated, what Vault says, or a guess where it says
// nothing.
func versionAt(
	ctx context.Context, conn *session.Conn, enginePath, path string, stated v1alpha1.KVVersion,
) (version v1alpha1.KVVersion, guessed bool, err error) {
	// What a stated version 2 reads is recognised by its form. Version 1 is any path that answers a GET, so that
	// Vault's word that a KV engine is there is wanted even if the version is stated.
	if stated == v1alpha1.KVVersion2 {
		return stated, false, nil
	}
	detected, err := engineVersion(ctx, conn, enginePath)
	switch {
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		if err := mountedBelow(ctx, conn, enginePath, path); err != nil {
			return "", false, err
		}
		if system := SystemPath(enginePath + "/" + path); system != "" {
			return "", false, fault.Waiting(v1alpha1.ReasonPermissionDenied,
				"%s/%s: Vault does not tell this token of a KV engine at %s (%s), and what lies below %q may be Vault's own",
				enginePath, path, enginePath, conn.Actor(), system).
				WithRemedy("let its policy use that engine, or correct enginePath")
		}
		if stated != "" {
			return stated, false, nil
		}
		// Vault tells the version to whoever may use any path of the engine, so the request itself will fail too,
		// and it says better what is wrong. The spelling of the path is the only hint that is left.
		if strings.HasPrefix(path, dataPrefix) {
			return v1alpha1.KVVersion2, true, nil
		}
		return v1alpha1.KVVersion1, true, nil
	case err != nil:
		return "", false, err
	case stated == "":
		return detected, false, nil
	case detected == notKV:
		return "", false, fault.Waiting(
			v1alpha1.ReasonInvalidRequest, "the secrets engine at %s is not KV (%s)", enginePath, conn.Actor(),
		).
			WithRemedy("leave out kvVersion, or correct enginePath")
	}
	return stated, false, nil
}

// locateVersioned is the locator for what only KV version 2 can do. Whatever Location says, Vault is asked for the
// version if it tells: a version 1 engine would take a version 2 write for a secret of its own, and store it under
// data/.
func locateVersioned(ctx context.Context, conn *session.Conn, location Location) (kvPath, error) {
	stated := location.KVVersion
	location.KVVersion = ""
	found, err := locate(ctx, conn, location)
	switch {
	case err != nil:
		return kvPath{}, err
	case found.guessed:
		versioned := newKVPath(found.engine, found.path, v1alpha1.KVVersion2)
		versioned.guessed = stated != v1alpha1.KVVersion2
		return versioned, nil
	case found.version != v1alpha1.KVVersion2:
		return kvPath{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "the engine at %s is %s, and this needs version 2 (%s)",
			found.engine, versionName(found.version), conn.Actor()).WithRemedy("upgrade it, or use another engine")
	}
	return found, nil
}

// locateUnversioned is the locator for what changes a KV version 1 secret.
func locateUnversioned(ctx context.Context, conn *session.Conn, location Location) (kvPath, error) {
	found, err := locate(ctx, conn, location)
	if err == nil && found.version != v1alpha1.KVVersion1 {
		return kvPath{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "the engine at %s is not KV version 1 (%s)", found.engine, conn.Actor())
	}
	return found, err
}

// locateFolder is the locator for a folder; the engine's top has no path. A list has no form by which a wrong version
// would be noticed, and a folder of version 1 may be called data or metadata, so that Vault is asked even where
// Location says the version.
func locateFolder(ctx context.Context, conn *session.Conn, location Location) (kvPath, error) {
	folder, stated := strings.Trim(location.SecretPath, "/"), location.KVVersion
	location.KVVersion = ""
	if folder == "" {
		location.SecretPath = "top" // only to find the engine, for which a path is wanted
	}
	found, err := locate(ctx, conn, location)
	switch {
	case err != nil:
		return kvPath{}, err
	case stated == "" || stated == found.version:
	case found.guessed:
		found = newKVPath(found.engine, strings.Trim(location.SecretPath, "/"), stated)
		found.guessed = true
	default:
		return kvPath{}, otherVersion(conn, found, newKVPath(found.engine, folder, stated).folderPath())
	}
	if folder == "" || folder+"/" == dataPrefix && found.version == v1alpha1.KVVersion2 {
		found.path = ""
	}
	return found, nil
}

// otherVersion refuses a path that is written for another version than the engine's.
func otherVersion(conn *session.Conn, found kvPath, path string) error {
	return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s: the engine at %s is KV version %s (%s)",
		path, found.engine, strings.TrimPrefix(string(found.version), "V"), conn.Actor()).
		WithRemedy("leave out kvVersion, or set it to %s", found.version)
}
