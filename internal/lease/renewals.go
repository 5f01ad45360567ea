package lease

import (
	"sync"
	"time"
)

// renewals remembers what this replica has renewed, until the lease would have ended. A node keeps its former books when the rest of an answer
// fails, and would have the lease renewed at each try.
type renewals struct {
	mu    sync.Mutex
	terms map[string]term
}

type term struct{ since, expires time.Time }

func (r *renewals) note(h *Holding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.terms[h.ID] = term{h.Since, h.Expires}
}

// bring brings a holding up to date.
func (r *renewals) bring(h *Holding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.terms[h.ID]; ok && known.since.After(h.Since) {
		h.Since, h.Expires = known.since, known.expires
	}
}

func (r *renewals) forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, known := range r.terms {
		if passed(known.expires, now) {
			delete(r.terms, id)
		}
	}
}
