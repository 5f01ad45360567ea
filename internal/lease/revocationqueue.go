package lease

import (
	"fmt"
	"io"
	"sync"
)

// maxQueued bounds the memory for revocations that failed. Beyond it leases are left to expire.
const maxQueued = 10_000

// revocationQueue holds the leases that nobody has and that could not be revoked yet. A rate-limited work queue does
// not do: it tries item by item, and what fails here is Vault as a whole, which one item finds out for all.
type revocationQueue struct {
	mu     sync.Mutex
	queued []revocation
}

// revocation is a lease to revoke.
type revocation struct {
	// namespace of the pod that it was issued for.
	namespace string
	lease     Lease
}

// Format prints nothing of it, for every verb.
func (r revocation) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "lease [redacted]") }

// enqueue remembers a revocation that failed, if there is room.
func (q *revocationQueue) enqueue(r revocation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queued) >= maxQueued {
		return false
	}
	q.queued = append(q.queued, r)
	return true
}

// takeAll empties the queue.
func (q *revocationQueue) takeAll() []revocation {
	q.mu.Lock()
	defer q.mu.Unlock()
	queued := q.queued
	q.queued = nil
	return queued
}
