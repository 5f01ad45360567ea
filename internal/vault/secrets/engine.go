package secrets

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

const (
	// engineTTL is how long Vault's word on an engine is believed: a minute, at whose end the cache would still give it
	// out.
	engineTTL = time.Minute - 1
	// maxEngines bounds how many engines, and how many paths of dynamic secrets, are remembered of a session.
	maxEngines = 1000
)

// engines is what Vault said of the engines that a session uses.
type engines struct {
	// versions by engineKey: what one token may not ask, another may.
	versions *cache.LRUExpireCache
	// dynamic are the kvPaths, without version, that made a lease when they were read, whatever the token.
	dynamic *cache.LRUExpireCache
}

type engineKey struct{ token, path string }

var engineSlot = &session.Slot[engines]{New: func(clk clock.PassiveClock) *engines {
	return &engines{
		versions: cache.NewLRUExpireCacheWithClock(
			maxEngines, clk,
		), dynamic: cache.NewLRUExpireCacheWithClock(maxEngines, clk),
	}
}}

func enginesOf(conn *session.Conn) *engines { return engineSlot.Of(conn.Session()) }

// engineVersion asks Vault for the version of a KV engine, or remembers it; notKV for another secrets engine that users
// may read. Source: sys/internal/ui/mounts/path, which every token may ask that may use some path of the engine.
func engineVersion(ctx context.Context, conn *session.Conn, path string) (v1alpha1.KVVersion, error) {
	known, key := enginesOf(conn).versions, engineKey{conn.TokenTerm().ID, path}
	if found, ok := known.Get(key); ok {
		version, _ := found.(v1alpha1.KVVersion)
		return version, nil
	}
	asked := conn.Now()
	r := newRequest(conn, http.MethodGet, "sys/internal/ui/mounts/"+path, "a right")
	response, err := conn.Call(ctx, r)
	if err != nil {
		return "", err
	}
	version, err := kvVersion(r, path, response.Data)
	if err != nil {
		return "", err
	}
	known.Add(key, version, engineTTL-conn.Now().Sub(asked))
	return version, nil
}

// mountedBelow refuses a path whose engine Vault reports further down: enginePath and secretPath were split in the
// wrong place. Vault tells of an engine by any path in it, and only to a token that may use some path there, so engine
// and path together find what enginePath alone did not. Source: sys/internal/ui/mounts/path.
func mountedBelow(ctx context.Context, conn *session.Conn, enginePath, path string) error {
	r := newRequest(conn, http.MethodGet, "sys/internal/ui/mounts/"+enginePath+"/"+path, "a right")
	response, err := conn.Call(ctx, r)
	if err != nil {
		return nil //nolint:nilerr // it only looked for a better cure: the request itself says what is wrong
	}
	mount, _ := response.Data["path"].(string)
	mount = strings.Trim(mount, "/")
	inside, below := strings.CutPrefix(enginePath+"/"+path, mount+"/")
	if !below || !strings.HasPrefix(mount, enginePath+"/") {
		return nil
	}
	return fault.Waiting(v1alpha1.ReasonInvalidRequest, "no secrets engine is mounted at %s, but one at %s (%s)",
		enginePath, mount, conn.Actor()).WithRemedy("set enginePath to %s and secretPath to %s", mount, inside)
}

// newRequest is a request of the session's, whose capability a policy must allow.
func newRequest(conn *session.Conn, method, path, capability string) transport.Request {
	return transport.Request{Method: method, Path: path, Capability: capability, Actor: conn.Actor()}
}

// systemEngines are the engines of Vault itself, wherever they are mounted.
var systemEngines = []string{
	"", "system", "identity", "cubbyhole", "token", "ns_system", "ns_identity", "ns_cubbyhole", "ns_token",
}

// kvVersion reads what sys/internal/ui/mounts says of an engine.
func kvVersion(r transport.Request, path string, data map[string]any) (v1alpha1.KVVersion, error) {
	// For a path below an engine, Vault describes the engine.
	mount, _ := data["path"].(string)
	if mount = strings.Trim(mount, "/"); mount != path {
		return "", fault.Waiting(v1alpha1.ReasonInvalidRequest, "no secrets engine is mounted at %s, the nearest is %s (%s)", path, printable.Quote(mount), r.Actor).
			WithRemedy("set enginePath to that")
	}
	switch kind, _ := data["type"].(string); {
	case kind == "kv", kind == "generic":
	case SystemPath(path) != "", slices.Contains(systemEngines, kind):
		return "", fault.Waiting(v1alpha1.ReasonInvalidRequest, "the secrets engine at %s is of type %s, not kv (%s)", path, printable.Quote(kind), r.Actor).
			WithRemedy("set enginePath to a KV engine")
	default:
		return notKV, nil
	}
	options, _ := data["options"].(map[string]any)
	if options["version"] == "2" {
		return v1alpha1.KVVersion2, nil
	}
	return v1alpha1.KVVersion1, nil
}

// leaseMemory is how long a path is remembered that made a lease: as long as the session lives, as far as the cache
// allows that.
const leaseMemory = 10 * 365 * 24 * time.Hour

func rememberLease(conn *session.Conn, from kvPath) {
	enginesOf(conn).dynamic.Add(kvPath{engine: from.engine, path: from.path}, true, leaseMemory)
}

// madeLease tells whether a read of the path once made a lease.
func madeLease(conn *session.Conn, from kvPath) bool {
	_, found := enginesOf(conn).dynamic.Get(kvPath{engine: from.engine, path: from.path})
	return found
}
