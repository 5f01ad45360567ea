package vault

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// notKV stands for the version of an engine that is no KV engine: its paths are read as they are.
const notKV v1alpha1.KVVersion = "none"

// engine is what Vault said of an engine, and when.
type engine struct {
	version v1alpha1.KVVersion
	asked   time.Time
	// leased are the paths that made a lease when they were read.
	leased map[string]bool
}

// locate checks a Location and finds the version of its engine.
func (s *Session) locate(ctx context.Context, current *identity, location Location) (place, error) {
	enginePath, err := cleanPath("enginePath", location.EnginePath)
	if err != nil {
		return place{}, err
	}
	path, err := cleanPath("secretPath", location.SecretPath)
	if err != nil {
		return place{}, err
	}
	version, guessed := location.KVVersion, false
	// What a stated version 2 reads is recognised by its form. Version 1 is any path that answers a GET, so that Vault's word
	// that a KV engine is there is wanted even if the version is stated.
	if version != v1alpha1.KVVersion2 {
		detected, err := s.engineVersion(ctx, current, enginePath)
		switch {
		case fault.Is(err, v1alpha1.ReasonPermissionDenied):
			if own := vaultsOwn(enginePath + "/" + path); own != "" {
				return place{}, fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s/%s: Vault does not tell this token of a KV engine at %s (%s), and what "+
					"lies below %q may be Vault's own; let its policy use that engine, or correct enginePath", enginePath, path, enginePath, s.as(), own)
			}
			if version != "" {
				break
			}
			// Vault tells the version to whoever may use any path of the engine, so the request itself will fail too,
			// and it says better what is wrong. The spelling of the path is the only hint that is left.
			version, guessed = v1alpha1.KVVersion1, true
			if strings.HasPrefix(path, dataPrefix) {
				version = v1alpha1.KVVersion2
			}
		case err != nil:
			return place{}, err
		case version == "":
			version = detected
		case detected == notKV:
			return place{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "the secrets engine at %s is not KV (%s); leave out kvVersion, or correct enginePath",
				enginePath, s.as())
		}
	}
	if version == notKV && location.KVOnly {
		return place{}, fault.Waiting(v1alpha1.ReasonInvalidRequest, "the secrets engine at %s is not KV (%s); set enginePath to a KV engine", enginePath, s.as())
	}
	found := newPlace(enginePath, path, version)
	found.guessed = guessed
	if location.Version != 0 && version != v1alpha1.KVVersion2 && !guessed {
		return place{}, fault.Waiting(v1alpha1.ReasonInvalidRequest,
			"version %d of %s: the engine is %s, which keeps no versions (%s); leave out version", location.Version, found.apiPath(), kindOf(version), s.as())
	}
	return found, nil
}

// kindOf is how a sentence calls an engine that is not KV version 2.
func kindOf(version v1alpha1.KVVersion) string {
	if version == notKV {
		return "not KV"
	}
	return "KV version 1"
}

// vaultsOwn returns the part of a path that may lead to what is no secrets engine for users, or nothing: with GET
// auth/token/lookup-self whoever may write a Connection would read the VaultConfig's own token. A namespace may stand before it, so every
// part is looked at.
func vaultsOwn(path string) string {
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "auth", "sys", "identity", "cubbyhole":
			return segment
		}
	}
	return ""
}

// engineVersion asks Vault for the version of a KV engine, or remembers it; notKV for another secrets engine that users may
// read. Source: sys/internal/ui/mounts/path, which every token may ask that may use some path of the engine.
func (s *Session) engineVersion(ctx context.Context, current *identity, path string) (v1alpha1.KVVersion, error) {
	now := s.sessions.clock.Now()
	s.mu.Lock()
	known, found := s.engines[path]
	s.mu.Unlock()
	if found && now.Sub(known.asked) < recheckInterval {
		return known.version, nil
	}
	r := request{method: http.MethodGet, path: "sys/internal/ui/mounts/" + path, token: &current.token, capability: "a right", as: s.as()}
	a, err := current.link.call(ctx, r)
	if err != nil {
		return "", err
	}
	version, err := kvVersion(r, path, a.Data)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity == current {
		s.engines[path] = engine{version: version, asked: now, leased: s.engines[path].leased}
	}
	return version, nil
}

// ownKinds are the engines of Vault itself, wherever they are mounted.
var ownKinds = []string{"", "system", "identity", "cubbyhole", "token", "ns_system", "ns_identity", "ns_cubbyhole", "ns_token"}

// kvVersion reads what sys/internal/ui/mounts says of an engine.
func kvVersion(r request, path string, data map[string]any) (v1alpha1.KVVersion, error) {
	// For a path below an engine, Vault describes the engine.
	mount, _ := data["path"].(string)
	if mount = strings.Trim(mount, "/"); mount != path {
		return "", fault.Waiting(v1alpha1.ReasonInvalidRequest, "no secrets engine is mounted at %s, the nearest is %s (%s); set enginePath to that",
			path, mount, r.as)
	}
	switch kind, _ := data["type"].(string); {
	case kind == "kv", kind == "generic":
	case vaultsOwn(path) != "", slices.Contains(ownKinds, kind):
		return "", fault.Waiting(v1alpha1.ReasonInvalidRequest, "the secrets engine at %s is of type %q, not kv (%s); set enginePath to a KV engine",
			path, kind, r.as)
	default:
		return notKV, nil
	}
	options, _ := data["options"].(map[string]any)
	if options["version"] == "2" {
		return v1alpha1.KVVersion2, nil
	}
	return v1alpha1.KVVersion1, nil
}
