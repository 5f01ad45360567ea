package vault

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// restingPulse is how long an answer of sys/health stands while Vault is well.
	restingPulse = 10 * time.Second
	// minPulse and maxPulse bound the pauses between two looks at a Vault that is not, so that its return is seen within seconds.
	minPulse = 500 * time.Millisecond
	maxPulse = 4 * time.Second
	// convincing is how often in a row a Vault that was well all the time must show another version before it is believed. Behind a
	// load balancer the nodes of a cluster that is being upgraded answer in turn, and each change of status is a write.
	convincing = 3
)

// pulse is what is known of a Vault's health, shared by all that use the same wire. Nobody watches: whoever wants to know and finds
// no answer that still stands asks for everybody.
type pulse struct {
	flights singleflight.Group

	mu       sync.Mutex
	last     *beat
	until    time.Time
	failures int
	// other is a version that was seen instead of the last one, and times how often in a row.
	other string
	times int
}

// beat is one answer of sys/health, or why there is none. It is never changed.
type beat struct {
	answer healthAnswer
	status int
	sent   bool
	err    error
}

func (b *beat) well() bool {
	return b.err == nil && b.answer.Initialized != nil && *b.answer.Initialized && !b.answer.Sealed
}

// beat returns the last answer of sys/health if that still stands, and else asks. The error is the caller's own giving up.
func (w *wire) beat(ctx context.Context) (*beat, error) {
	if known := w.pulse.known(w.clock.Now()); known != nil {
		return known, nil
	}
	done := w.pulse.flights.DoChan("", func() (any, error) {
		if known := w.pulse.known(w.clock.Now()); known != nil { // another caller was faster
			return known, nil
		}
		// Detached, because the caller who asks may leave while others still wait. It has its own bound.
		taken := w.take(context.WithoutCancel(ctx))
		return w.pulse.note(taken, w.clock.Now()), nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case result := <-done:
		taken, _ := result.Val.(*beat)
		return taken, nil
	}
}

// take asks sys/health, which belongs to no namespace and to no VaultConfig's limits.
func (w *wire) take(ctx context.Context) *beat {
	taken := &beat{}
	var got reply
	got, taken.sent, taken.err = w.bare().exchange(ctx, request{method: http.MethodGet, path: "sys/health"}, &taken.answer)
	taken.status = got.status
	return taken
}

func (p *pulse) known(now time.Time) *beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || !now.Before(p.until) {
		return nil
	}
	return p.last
}

// note remembers an answer and decides how long it stands.
func (p *pulse) note(taken *beat, now time.Time) *beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := restingPulse
	if taken.well() {
		p.failures = 0
		p.settle(taken)
	} else {
		pause = min(minPulse<<min(p.failures, 8), maxPulse)
		p.failures++
		p.other, p.times = "", 0
	}
	// Half a fifth less or more, so that replicas do not come at the same moment.
	p.last, p.until = taken, now.Add(pause*9/10+rand.N(pause/5)) //nolint:gosec // jitter
	return taken
}

// settle has a healthy answer show the version that the one before it showed, until another one is convincing.
func (p *pulse) settle(taken *beat) {
	if p.last == nil || !p.last.well() || p.last.answer.Version == taken.answer.Version {
		p.other, p.times = "", 0
		return
	}
	if p.other != taken.answer.Version {
		p.other, p.times = taken.answer.Version, 0
	}
	if p.times++; p.times < convincing {
		taken.answer.Version = p.last.answer.Version
		return
	}
	p.other, p.times = "", 0
}
