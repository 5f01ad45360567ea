package lease

import (
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

const (
	// maxRenewedNamespaces and maxRenewedOfNamespace bound the memory for renewals, 16 MB at most. What falls out of
	// it, the longest unused first, is renewed once more, and one namespace pushes out what is its own only.
	maxRenewedNamespaces  = 128
	maxRenewedOfNamespace = 512
	// renewedIdle is how long a namespace is remembered in which nothing is renewed.
	renewedIdle = 24 * time.Hour
)

// renewedTerms remembers until when this replica has renewed which lease, or which token of leases, as long as that
// lasts. A node keeps its former state when the rest of a response fails, and would have the lease renewed at each try;
// and the volumes that have the same token would each have it renewed.
type renewedTerms struct {
	clock clock.PassiveClock
	// byNamespace holds a cache of terms by the lease's name.
	byNamespace *cache.LRUExpireCache
}

type term struct{ since, expires time.Time }

func newRenewedTerms(clk clock.PassiveClock) *renewedTerms {
	return &renewedTerms{clock: clk, byNamespace: cache.NewLRUExpireCacheWithClock(maxRenewedNamespaces, clk)}
}

// of returns the terms of a namespace; nil if there are none.
func (r *renewedTerms) of(namespace string) *cache.LRUExpireCache {
	held, _ := r.byNamespace.Get(namespace)
	terms, _ := held.(*cache.LRUExpireCache)
	return terms
}

// record remembers a renewal of what has this name.
func (r *renewedTerms) record(namespace, name string, renewed term) {
	terms := r.of(namespace)
	if terms == nil {
		terms = cache.NewLRUExpireCacheWithClock(maxRenewedOfNamespace, r.clock)
	}
	terms.Add(name, renewed, renewed.expires.Sub(r.clock.Now()))
	r.byNamespace.Add(namespace, terms, renewedIdle)
}

// get returns what is remembered of a name.
func (r *renewedTerms) get(namespace, name string) (known term, found bool) {
	terms := r.of(namespace)
	if terms == nil {
		return term{}, false
	}
	remembered, _ := terms.Get(name)
	known, found = remembered.(term)
	return known, found
}

// apply brings a lease up to date with what is remembered of it.
func (r *renewedTerms) apply(namespace string, l *Lease) {
	if known, found := r.get(namespace, l.Name); found && known.since.After(l.Since) {
		l.Since, l.Expires = known.since, known.expires
	}
}
