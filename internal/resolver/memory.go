package resolver

import (
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
)

const (
	// maxKept bounds what the secrets of one request take of the heap until its files are made: twice what references
	// may put in place.
	maxKept = 8 << 20
	// keptByAll bounds the same for all requests of a replica together, those of one namespace to a quarter.
	keptByAll = 96 << 20
	keptShare = keptByAll / 4
)

// memory is what a request keeps of secrets until it ends.
type memory struct {
	gate      *shares.Gate
	namespace string

	mu     sync.Mutex
	size   int64
	leaves []func()
}

// reserve makes room for values of the secret at a path, or says why there is none.
func (m *memory) reserve(path string, values map[string]any) error {
	size := heap.Of(values)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size+size > maxKept {
		return fault.Waiting(v1alpha1.ReasonTooLarge, "what references want of %s and the other secrets takes more than %d MiB of memory",
			path, maxKept>>20).WithRemedy("refer to less, or use several Connections")
	}
	leave, entered := m.gate.TryEnter(m.namespace, size)
	if !entered {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"the secrets of the requests that are under way for namespace %s, or for all, take all the memory that they may", m.namespace).
			WithRemedy("this passes; smaller secrets or fewer pods at a time avoid it")
	}
	m.size += size
	m.leaves = append(m.leaves, leave)
	return nil
}

// release gives all of it back.
func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, leave := range m.leaves {
		leave()
	}
	m.size, m.leaves = 0, nil
}
