package lease

import (
	"fmt"
	"io"
	"sync"

	"sallyport.dev/sallyport/internal/shares"
)

const (
	// maxQueued bounds the revocations that wait, and maxQueuedOfNamespace those of one namespace: a tenth, so that one
	// tenant leaves the others room. Beyond it leases are left to expire.
	maxQueued            = 10_000
	maxQueuedOfNamespace = maxQueued / 10
	// maxWorkers is how many lanes are worked off at once, and maxWorkersOfNamespace those of one namespace.
	maxWorkers            = 32
	maxWorkersOfNamespace = 4
	// maxFailures in a row pause a lane until the next sweep: its Vault is away, and each try may take callTimeout.
	maxFailures = 2
)

// revocationQueue holds the leases that nobody has and that are to be revoked, lane by lane: in one lane one after the
// other, so that a Vault that is away is found out once for all, and lanes beside each other, so that nobody else
// notices. A rate-limited work queue of client-go does not do: it tries item by item, and knows no lanes.
type revocationQueue struct {
	mu      sync.Mutex
	lanes   map[lane]*laneQueue
	workers shares.Counts[string] // lanes that are being worked off, by namespace
	waiting shares.Counts[string] // revocations, by namespace
}

type laneQueue struct {
	queued []revocation
	// working: a worker is at it. paused: nothing is tried before the next sweep.
	working, paused bool
	failures        int
}

// revocation is a lease to revoke.
type revocation struct {
	// namespace of the pod that it was issued for.
	namespace string
	lease     Lease
}

// Format prints nothing of it, for every verb.
func (r revocation) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "lease [redacted]") }

func newRevocationQueue() *revocationQueue {
	return &revocationQueue{
		lanes:   map[lane]*laneQueue{},
		workers: shares.NewCounts[string](maxWorkers, maxWorkersOfNamespace),
		waiting: shares.NewCounts[string](maxQueued, maxQueuedOfNamespace),
	}
}

// add queues a revocation, if there is room.
func (q *revocationQueue) add(r revocation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waiting.Take(r.namespace) {
		return false
	}
	key := laneOf(r.namespace, &r.lease)
	of := q.lanes[key]
	if of == nil {
		of = &laneQueue{}
		q.lanes[key] = of
	}
	of.queued = append(of.queued, r)
	return true
}

// length is how many revocations wait.
func (q *revocationQueue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.All()
}

// busy tells whether something is being worked off.
func (q *revocationQueue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.workers.All() > 0
}

// resume ends the pauses of all lanes.
func (q *revocationQueue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, of := range q.lanes {
		of.paused, of.failures = false, 0
	}
}

// work starts workers as long as there is work for them. Each makes the calls that it takes with revoke, which tells
// whether the revocation is settled, and ends when it finds no lane to work off.
func (q *revocationQueue) work(revoke func(revocation) (settled bool)) {
	for {
		q.mu.Lock()
		key, found := q.next()
		q.mu.Unlock()
		if !found {
			return
		}
		go func() {
			for found := true; found; key, found = q.leave(key) {
				q.workOff(key, revoke)
			}
		}()
	}
}

// next gives a lane to a worker, one of the namespace that has the fewest. The caller holds the lock.
func (q *revocationQueue) next() (key lane, found bool) {
	fewest := maxWorkersOfNamespace
	for candidate, of := range q.lanes {
		if n := q.workers.Of(candidate.namespace); len(of.queued) > 0 && !of.working && !of.paused && n < fewest {
			key, found, fewest = candidate, true, n
		}
	}
	if !found || !q.workers.Take(key.namespace) {
		return key, false
	}
	q.lanes[key].working = true
	return key, true
}

// leave ends the work on a lane, and returns the next one for the same worker.
func (q *revocationQueue) leave(key lane) (next lane, found bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lanes[key].working = false
	if len(q.lanes[key].queued) == 0 {
		delete(q.lanes, key)
	}
	q.workers.Give(key.namespace, 1)
	return q.next()
}

// workOff revokes what is in a lane until that is paused. What fails goes to its end, so that each has its turn.
func (q *revocationQueue) workOff(key lane, revoke func(revocation) (settled bool)) {
	for {
		q.mu.Lock()
		of := q.lanes[key]
		if len(of.queued) == 0 || of.paused {
			q.mu.Unlock()
			return
		}
		next := of.queued[0]
		q.mu.Unlock()

		settled := revoke(next)

		q.mu.Lock()
		of.queued = of.queued[1:]
		if settled {
			of.failures = 0
			q.waiting.Give(key.namespace, 1)
		} else {
			of.queued = append(of.queued, next)
			of.failures++
			of.paused = of.failures >= maxFailures || len(of.queued) == 1
		}
		q.mu.Unlock()
	}
}
