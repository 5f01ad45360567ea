package secrets

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/printable"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// engineTTL is how long Vault's word on an engine is believed.
const engineTTL = time.Minute

// known is what Vault said of the engines that all sessions of the process use: bounded for all of them together, with
// a share for the VaultConfigs of each namespace.
var known = shares.NewCache[engineKey, engineFact](heap.Engines, heap.EnginesShare)

// engineKey names a fact about a path. A session goes by a name of its own, so that nothing here keeps it from being
// forgotten.
type engineKey struct {
	session string
	// token is the one that may ask for an engine's version: what one may not ask, another may. It is empty for a
	// kvPath, without version, of which a read showed whether it makes something for its reader, whatever the token.
	token, engine, path string
	// below is the namespace of Vault, as the way there from the session's.
	below string
}

type engineFact struct {
	version v1alpha1.KVVersion
	// shared: a read of the path has the same answer for everybody.
	shared bool
	// until is zero where it lasts as long as the session.
	until time.Time
}

// enginePrice is for a fact beside its strings.
const enginePrice = 512

var sessionName = &session.Slot[string]{New: func(clock.PassiveClock) *string {
	name := rand.Text()
	return &name
}}

func (k engineKey) of(conn *session.Conn) engineKey {
	k.session, k.below = *sessionName.Of(conn.Session()), conn.Below()
	return k
}

func remember(conn *session.Conn, key engineKey, fact engineFact) {
	weight := int64(enginePrice + len(key.token) + len(key.engine) + len(key.path) + len(conn.Below()))
	known.Add(conn.Session().Namespace(), key.of(conn), fact, weight)
}

func recall(conn *session.Conn, key engineKey) (fact engineFact, found bool) {
	fact, found = known.Get(key.of(conn))
	return fact, found && (fact.until.IsZero() || conn.Now().Before(fact.until))
}

// engineVersion asks Vault for the version of a KV engine, or remembers it; notKV for another secrets engine that users
// may read. Source: sys/internal/ui/mounts/path, which every token may ask that may use some path of the engine.
func engineVersion(ctx context.Context, conn *session.Conn, path string) (v1alpha1.KVVersion, error) {
	key := engineKey{token: conn.TokenTerm().ID, path: path}
	if fact, found := recall(conn, key); found {
		return fact.version, nil
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
	remember(conn, key, engineFact{version: version, until: asked.Add(engineTTL)})
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

// newRequest is a request of the session's, whose capability a policy must allow. In a namespace below the session's,
// sentences show the path as it is from there, which is how a policy has it.
func newRequest(conn *session.Conn, method, path, capability string) transport.Request {
	r := transport.Request{Method: method, Path: path, Capability: capability, Actor: conn.Actor()}
	if conn.Below() != "" {
		r.Shown = transport.PathBelow(conn.Below(), path)
	}
	return r
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

func rememberLease(conn *session.Conn, from kvPath) {
	remember(conn, engineKey{engine: from.engine, path: from.path}, engineFact{})
}

// rememberShared: a read of the path made nothing for its reader.
func rememberShared(conn *session.Conn, from kvPath) {
	remember(conn, engineKey{engine: from.engine, path: from.path}, engineFact{shared: true})
}

// makes tells whether a read of the path makes something for its reader, if one has shown it.
func makes(conn *session.Conn, from kvPath) (makes, known bool) {
	fact, known := recall(conn, engineKey{engine: from.engine, path: from.path})
	return known && !fact.shared, known
}
