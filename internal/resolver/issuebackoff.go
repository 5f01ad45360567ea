package resolver

import (
	"math"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
)

const (
	// minIssuePause is the pause after the first dynamic secret of a Connection that could not be used. It doubles with
	// each further one, up to maxIssuePause, or maxTransientIssuePause where the reason goes away by itself.
	minIssuePause          = 5 * time.Second
	maxIssuePause          = 5 * time.Minute
	maxTransientIssuePause = 30 * time.Second
	// maxIssueFailures bounds the memory for that. Beyond it no further Connection is paused.
	maxIssueFailures = 10_000
)

// issueBackoff keeps a lasting mistake, such as a reference to a key that an engine's responses do not have, from
// having Vault issue a credential at each try of each volume, to be revoked at once. flowcontrol.Backoff does not do:
// it keeps no fault to tell of, has one longest pause for all, and no bound.
type issueBackoff struct {
	clock clock.PassiveClock

	mu       sync.Mutex // from the look into failures to the entry
	failures *cache.LRUExpireCache
}

type issueFailure struct {
	fault *fault.Fault
	until time.Time
	steps wait.Backoff
}

func newIssueBackoff(clk clock.PassiveClock) *issueBackoff {
	return &issueBackoff{clock: clk, failures: cache.NewLRUExpireCacheWithClock(maxIssueFailures, clk)}
}

// Blocked returns the fault of the last failure while nothing is to be issued for a Connection as it is.
func (b *issueBackoff) Blocked(key string) error {
	if last, ok := b.last(key); ok && b.clock.Now().Before(last.until) {
		return last.fault
	}
	return nil
}

// Failed says that what was issued could not be used.
func (b *issueBackoff) Failed(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	next, ok := b.last(key)
	switch {
	case !ok && len(b.failures.Keys()) >= maxIssueFailures:
		return
	case !ok:
		next.steps = wait.Backoff{Duration: minIssuePause, Factor: 2, Steps: math.MaxInt, Cap: maxIssuePause}
	case now.Before(next.until): // several volumes tried at the same time
		return
	}
	next.fault = fault.From(err)
	pause := next.steps.Step()
	if next.fault.Class == fault.ClassTransient {
		pause = min(pause, maxTransientIssuePause)
		next.steps.Duration = min(next.steps.Duration, maxTransientIssuePause)
	}
	next.until = now.Add(pause)
	b.failures.Add(key, next, pause+maxIssuePause)
}

// Reset says that what was issued is used.
func (b *issueBackoff) Reset(key string) { b.failures.Remove(key) }

func (b *issueBackoff) last(key string) (issueFailure, bool) {
	known, _ := b.failures.Get(key)
	last, ok := known.(issueFailure)
	return last, ok
}
