// Package breaker is the circuit breaker of one way to a Vault: it decides whether requests are sent at all.
//
// Only looks at sys/health judge. A request of somebody who uses the same Vault says too little: one that hangs may
// hang in an engine of his own, and his time-out may be short. sys/health needs no token, asks no engine and no
// storage, and depends on nobody's settings but those that name the way, which all who share a Breaker have in common.
package breaker

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// TryEvery is how often one request may find out whether a Vault answers again.
const TryEvery = 5 * time.Second

// Breaker is closed while it is new. It is safe for concurrent use.
type Breaker struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// since is from when on nothing was answered; zero: the Breaker is closed.
	since time.Time
	// next is when one request may be let through, nextLook when one that may not be sent may have sys/health asked.
	next, nextLook time.Time
	// answers counts everything that was answered.
	answers uint64
	// hangs: the last look had no answer.
	hangs bool
	// silent: sys/health hangs while others are answered, so that its time-outs mean nothing. Something in front of Vault
	// may drop what goes there.
	silent bool
}

// New returns a closed Breaker.
func New(clk clock.PassiveClock) *Breaker { return &Breaker{clock: clk} }

// Look is one look at sys/health that has begun.
type Look struct {
	breaker *Breaker
	begun   time.Time
	answers uint64
}

// Look begins one.
func (b *Breaker) Look() Look {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Look{breaker: b, begun: b.clock.Now(), answers: b.answers}
}

// Answered ends a look, and closes the Breaker: by an answer of whatever kind, or a failure that came at once. Such a
// failure comes to other requests as fast, and says more.
func (l Look) Answered() {
	l.breaker.mu.Lock()
	defer l.breaker.mu.Unlock()
	l.breaker.hangs, l.breaker.silent = false, false
	l.breaker.answeredLocked()
}

// TimedOut ends a look, and opens the Breaker if nothing else was answered since it began. Connected tells whether
// there was a connection.
func (l Look) TimedOut(connected bool) {
	b := l.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hangs = connected
	switch {
	case connected && b.answers != l.answers:
		b.silent = true
	case b.answers != l.answers, connected && b.silent, !b.since.IsZero():
	default:
		b.since, b.next, b.nextLook = l.begun, b.clock.Now(), b.clock.Now()
	}
}

// Answered notes that a request was answered, whatever with.
func (b *Breaker) Answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.silent = b.silent || b.hangs
	b.answeredLocked()
}

func (b *Breaker) answeredLocked() {
	b.answers++
	b.since = time.Time{}
}

// Ask tells whether a request may be sent: since is zero if it may, and else from when on nothing was answered. To one
// request in TryEvery it gives the turn to find out whether there is an answer now: to one of those that are sent for
// that, and to one of those that are not, so that neither takes the others' turns.
func (b *Breaker) Ask(sent bool) (since time.Time, turn bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := &b.next
	if !sent {
		next = &b.nextLook
	}
	if now := b.clock.Now(); !b.since.IsZero() && !now.Before(*next) {
		*next = now.Add(TryEvery)
		return b.since, true
	}
	return b.since, false
}

// Open tells whether nothing is sent but by those who have the turn.
func (b *Breaker) Open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.since.IsZero()
}
