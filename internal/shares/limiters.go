package shares

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/cache"
)

// limiterMemory is how long a key is remembered that is not asked for: a limit of the usual kind is full again by then.
const limiterMemory = 10 * time.Minute

// Limiters are equal rate limiters by key, as many as fit; the one that was longest not asked for gives way. They are
// safe for concurrent use.
type Limiters struct {
	perSecond rate.Limit
	burst     int

	mu    sync.Mutex // from the look into the cache to the entry
	byKey *cache.LRUExpireCache
}

// NewLimiters returns limiters for so many keys.
func NewLimiters(perSecond rate.Limit, burst, keys int) *Limiters {
	return &Limiters{perSecond: perSecond, burst: burst, byKey: cache.NewLRUExpireCache(keys)}
}

// Of returns the limiter of a key.
func (l *Limiters) Of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, _ := l.byKey.Get(key)
	limiter, ok := found.(*rate.Limiter)
	if !ok {
		limiter = rate.NewLimiter(l.perSecond, l.burst)
	}
	l.byKey.Add(key, limiter, limiterMemory)
	return limiter
}

// Refill gives a key its whole burst again.
func (l *Limiters) Refill(key string) { l.byKey.Remove(key) }
