package session

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// revocationPauses are those between the tries to revoke a token. After the last one it lives until its TTL runs out.
var revocationPauses = wait.Backoff{Duration: 4 * time.Second, Factor: 4, Steps: 4}

const (
	// maxRevokers is how many sessions' tokens are revoked at once, and maxRevokersOfNamespace those of one namespace.
	maxRevokers            = 32
	maxRevokersOfNamespace = 4
)

// revocationQueue holds tokens that nothing depends on any more, in a lane for each way to Vault: one token after the
// other, so that a thousand of them are not revoked at once, and beside the other lanes, so that a Vault that hangs
// holds up nobody else's. Goroutines work them off while there are any, so that whoever gives up a session does not
// wait for Vault. A workqueue of client-go would keep its goroutines while there is nothing to do, for each of the many
// queues of ephemeral sessions.
type revocationQueue struct {
	mu      sync.Mutex
	lanes   map[revocationLane]*laneQueue
	workers shares.Counts[string] // lanes that are being worked off, by namespace
}

// revocationLane is the way to Vault of a session of an object in a namespace.
type revocationLane struct {
	namespace string
	conn      *transport.Conn
}

type laneQueue struct {
	queue   []revocation
	working bool
}

type revocation struct {
	conn  *transport.Conn
	token transport.Token
	// namespace is Vault's, owner the Kubernetes namespace of the object that says how to log in.
	namespace, owner string
	actor            string
	pauses           wait.Backoff
}

func (q *revocationQueue) add(next revocation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lanes == nil {
		q.lanes = map[revocationLane]*laneQueue{}
		q.workers = shares.NewCounts[string](maxRevokers, maxRevokersOfNamespace)
	}
	key := revocationLane{next.owner, next.conn}
	if q.lanes[key] == nil {
		q.lanes[key] = &laneQueue{}
	}
	q.lanes[key].queue = append(q.lanes[key].queue, next)
	if lane, found := q.next(); found {
		go q.work(lane)
	}
}

// idle tells whether there is nothing to revoke; what waits for another try does not count.
func (q *revocationQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lanes) == 0
}

// next gives a lane to a worker, one of the namespace that has the fewest. The caller holds the lock.
func (q *revocationQueue) next() (key revocationLane, found bool) {
	fewest := maxRevokersOfNamespace
	for candidate, lane := range q.lanes {
		if n := q.workers.Of(candidate.namespace); !lane.working && n < fewest {
			key, found, fewest = candidate, true, n
		}
	}
	if !found || !q.workers.Take(key.namespace) {
		return key, false
	}
	q.lanes[key].working = true
	return key, true
}

func (q *revocationQueue) work(key revocationLane) {
	for found := true; found; {
		q.mu.Lock()
		lane := q.lanes[key]
		next := lane.queue[0]
		q.mu.Unlock()
		q.revoke(next)
		q.mu.Lock()
		// Another lane may have its turn after each.
		if lane.queue, lane.working = lane.queue[1:], false; len(lane.queue) == 0 {
			delete(q.lanes, key)
		}
		q.workers.Give(key.namespace, 1)
		key, found = q.next()
		q.mu.Unlock()
	}
}

// revoke asks auth/token/revoke-self. A Vault that denies it has its reasons: the token is dead, or its policies do not
// allow it.
func (q *revocationQueue) revoke(next revocation) {
	ctx := context.Background()
	err := fault.Guard(ctx, func() error {
		_, err := next.conn.Call(ctx, transport.Request{
			Method: http.MethodPost, Path: "auth/token/revoke-self", Token: &next.token, Namespace: next.namespace,
			Capability: `"update"`, Actor: next.actor,
		})
		return err
	})
	if err == nil || fault.From(err).Class != fault.ClassTransient || next.pauses.Steps == 0 {
		return
	}
	pause := next.pauses.Step()
	time.AfterFunc(pause, fault.Guarded(ctx, func() { q.add(next) }))
}
