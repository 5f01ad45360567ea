package volume

import (
	"os"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// MemoryBudget bounds the bytes of all volumes. The kernel charges tmpfs pages to the process that writes them, so
// without a bound one pod with large secrets could get the plugin killed, and with it the refresh of every other pod's.
// golang.org/x/sync/semaphore does not do: it neither tells what is used nor takes what volumes of an earlier process
// use already, whatever the limit is now.
type MemoryBudget struct {
	limit int64

	mu   sync.Mutex
	used int64
}

// NewMemoryBudget returns a budget of so many bytes.
func NewMemoryBudget(limit int64) *MemoryBudget { return &MemoryBudget{limit: limit} }

// Limit returns the bytes that there are.
func (b *MemoryBudget) Limit() int64 { return b.limit }

// Used returns the bytes that are reserved.
func (b *MemoryBudget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Reservation is the part of a budget that one volume takes.
type Reservation struct {
	budget *MemoryBudget
	bytes  int64 // guarded by the lock of budget
}

// Resize takes this many bytes instead, or says that the node is full. Only the growth is asked of the budget.
func (r *Reservation) Resize(bytes int64) error {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	growth := bytes - r.bytes
	if growth > 0 && b.used+growth > b.limit {
		return fault.Transient(v1alpha1.ReasonNodeFull,
			"the volumes of this node use %d of the %d bytes of memory set aside for them, and this one needs %d more",
			b.used, b.limit, growth)
	}
	b.used += growth
	r.bytes = bytes
	return nil
}

// Charge adds bytes that are in use already, whatever the limit says; a negative number gives some back.
func (r *Reservation) Charge(bytes int64) {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.budget.used += bytes
	r.bytes += bytes
}

// Bytes returns what is reserved.
func (r *Reservation) Bytes() int64 {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	return r.bytes
}

// Release gives everything back. It may be called twice.
func (r *Reservation) Release() { r.Charge(-r.Bytes()) }

// InPages rounds up to whole pages: a tmpfs gives out nothing smaller.
func InPages(bytes int64) int64 {
	page := int64(os.Getpagesize())
	return (bytes + page - 1) / page * page
}
