package lease

import (
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

// maxRenewed bounds the memory for renewals. What falls out of it is renewed once more.
const maxRenewed = 65_536

// renewedTerms remembers until when this replica has renewed which lease, as long as that lasts. A node keeps its
// former state when the rest of a response fails, and would have the lease renewed at each try.
type renewedTerms struct {
	clock  clock.PassiveClock
	byName *cache.LRUExpireCache
}

type term struct{ since, expires time.Time }

func newRenewedTerms(clk clock.PassiveClock) *renewedTerms {
	return &renewedTerms{clock: clk, byName: cache.NewLRUExpireCacheWithClock(maxRenewed, clk)}
}

// record remembers a renewal.
func (r *renewedTerms) record(l *Lease) {
	r.byName.Add(l.Name, term{l.Since, l.Expires}, l.Expires.Sub(r.clock.Now()))
}

// apply brings a lease up to date with what is remembered of it.
func (r *renewedTerms) apply(l *Lease) {
	remembered, _ := r.byName.Get(l.Name)
	if known, ok := remembered.(term); ok && known.since.After(l.Since) {
		l.Since, l.Expires = known.since, known.expires
	}
}
