package resolver

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
)

const (
	// brakeMin is how long nothing is made for a Connection after what was made could not be used; twice as long each time, up to brakeMax, or
	// brakeRetry where the reason goes away by itself.
	brakeMin   = 5 * time.Second
	brakeMax   = 5 * time.Minute
	brakeRetry = 30 * time.Second
	// brakesRemembered bounds the memory for that.
	brakesRemembered = 10_000
)

// brakes keep a lasting mistake, such as a reference to a key that an engine's answers do not have, from having Vault make a credential at each
// try of each volume, to be given back at once.
type brakes struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	known map[string]*brake
}

type brake struct {
	fault *fault.Fault
	pause time.Duration
	until time.Time
}

// on returns the fault of the last attempt while nothing is to be made for a Connection as it is.
func (b *brakes) on(key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.known[key]; known != nil && b.clock.Now().Before(known.until) {
		return known.fault
	}
	return nil
}

// wasted says that what was made could not be used.
func (b *brakes) wasted(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, f := b.clock.Now(), fault.From(err)
	known := b.known[key]
	switch {
	case known == nil && !b.room(now):
		return
	case known == nil:
		known = &brake{pause: brakeMin / 2}
		b.known[key] = known
	case now.Before(known.until): // several volumes tried at the same time
		return
	}
	limit := brakeMax
	if f.Class == fault.ClassTransient {
		limit = brakeRetry
	}
	known.fault, known.pause = f, min(2*known.pause, limit)
	known.until = now.Add(known.pause)
}

// used says that what was made is used.
func (b *brakes) used(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, key)
}

// room tells whether another one can be remembered. Those that nobody came back to are forgotten.
func (b *brakes) room(now time.Time) bool {
	if len(b.known) < brakesRemembered {
		return true
	}
	for key, known := range b.known {
		if now.Sub(known.until) > brakeMax {
			delete(b.known, key)
		}
	}
	return len(b.known) < brakesRemembered
}
