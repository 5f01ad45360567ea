package volume

import (
	"os"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

const (
	// MaxPerPod is how many volumes a pod may have. More than a few are a mistake, as one Connection holds many files;
	// Kubernetes itself has no limit.
	MaxPerPod = 20
	// shareOfRest is how much an owner may have, as a multiple of what is left then for all others. It bites when
	// memory is scarce: one namespace alone gets three quarters of the budget, a second one three quarters of the rest.
	shareOfRest = 3
)

// MemoryBudget bounds the memory of all volumes, by namespaces. The kernel charges a tmpfs to the process that writes
// to it, so without a bound one pod with large secrets could get the plugin killed, and with it the refresh of every
// other pod's. golang.org/x/sync/semaphore does not do: it neither tells what is used, nor by whom, nor takes what
// volumes of an earlier process use already, whatever the limit is now.
type MemoryBudget struct {
	limit int64

	mu         sync.Mutex
	used       int64
	namespaces map[string]int64
	pods       map[string]int // reservations, by the pod's UID
}

// NewMemoryBudget returns a budget of so many bytes.
func NewMemoryBudget(limit int64) *MemoryBudget {
	return &MemoryBudget{limit: limit, namespaces: map[string]int64{}, pods: map[string]int{}}
}

// Limit returns the bytes that there are.
func (b *MemoryBudget) Limit() int64 { return b.limit }

// Used returns the bytes that are reserved.
func (b *MemoryBudget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// ReserveVolume takes memory for one more volume of the pod, or says why it cannot be had.
func (b *MemoryBudget) ReserveVolume(pod Pod, bytes int64) (*Reservation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if count := b.pods[pod.UID]; count >= MaxPerPod {
		return nil, fault.Terminal(v1alpha1.ReasonTooLarge,
			"the pod %s has %d volumes of %s mounted, and more than %d are refused: "+
				"put what it needs into fewer Connections, each of which may have many files",
			pod, count, v1alpha1.DriverName, MaxPerPod)
	}
	return b.reserve(pod, bytes)
}

// Reserve takes memory for something of the pod, or says why it cannot be had.
func (b *MemoryBudget) Reserve(pod Pod, bytes int64) (*Reservation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserve(pod, bytes)
}

func (b *MemoryBudget) reserve(pod Pod, bytes int64) (*Reservation, error) {
	if err := b.check(pod.Namespace, bytes); err != nil {
		return nil, err
	}
	return b.take(pod, bytes), nil
}

// Take takes memory that a volume of the pod uses already, whatever the limits say.
func (b *MemoryBudget) Take(pod Pod, bytes int64) *Reservation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take(pod, bytes)
}

func (b *MemoryBudget) take(pod Pod, bytes int64) *Reservation {
	b.pods[pod.UID]++
	r := &Reservation{budget: b, pod: pod}
	b.add(r, bytes)
	return r
}

// check tells whether a namespace may have so many bytes more. The caller holds the lock.
func (b *MemoryBudget) check(namespace string, growth int64) error {
	rest, held := b.limit-b.used-growth, b.namespaces[namespace]+growth
	switch {
	case growth <= 0 || rest >= 0 && held <= shareOfRest*rest:
		return nil
	case rest < 0:
		return fault.Transient(v1alpha1.ReasonNodeFull,
			"the volumes of this node use %d of the %d bytes of memory set aside for them, and this one needs %d more: "+
				"move pods to other nodes, or raise the memory limit of the DaemonSet sallyport-node",
			b.used, b.limit, growth)
	default:
		return fault.Transient(v1alpha1.ReasonNodeFull,
			"the volumes of namespace %s use %d of the %d bytes of memory set aside for volumes on this node, this one "+
				"needs %d more, and the %d that are left are for other namespaces too: move pods of the namespace to other "+
				"nodes, or raise the memory limit of the DaemonSet sallyport-node",
			namespace, held-growth, b.limit, growth, b.limit-b.used)
	}
}

// add changes what a reservation holds. The caller holds the lock.
func (b *MemoryBudget) add(r *Reservation, bytes int64) {
	b.used += bytes
	r.bytes += bytes
	if b.namespaces[r.pod.Namespace] += bytes; b.namespaces[r.pod.Namespace] == 0 {
		delete(b.namespaces, r.pod.Namespace)
	}
}

// Reservation is the part of a budget that one volume takes.
type Reservation struct {
	budget *MemoryBudget
	pod    Pod

	// Guarded by the lock of budget.
	bytes    int64
	released bool
}

// Resize takes this many bytes instead, or says why they cannot be had. Only the growth is asked of the budget.
func (r *Reservation) Resize(bytes int64) error {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	growth := bytes - r.bytes
	if err := b.check(r.pod.Namespace, growth); err != nil {
		return err
	}
	b.add(r, growth)
	return nil
}

// Charge adds bytes that are in use already, whatever the limit says; a negative number gives some back.
func (r *Reservation) Charge(bytes int64) {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	if !r.released {
		r.budget.add(r, bytes)
	}
}

// Bytes returns what is reserved.
func (r *Reservation) Bytes() int64 {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	return r.bytes
}

// Release gives everything back. It may be called twice.
func (r *Reservation) Release() {
	b := r.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.released {
		return
	}
	r.released = true
	b.add(r, -r.bytes)
	if b.pods[r.pod.UID]--; b.pods[r.pod.UID] == 0 {
		delete(b.pods, r.pod.UID)
	}
}

// InPages rounds up to whole pages: a tmpfs gives out nothing smaller.
func InPages(bytes int64) int64 {
	page := int64(os.Getpagesize())
	return (bytes + page - 1) / page * page
}
