package resolver

import (
	"crypto/sha256"
	"math"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/shares"
)

const (
	// minIssuePause is the pause after the first dynamic secret of a Connection that could not be used. It doubles with
	// each further one, up to maxIssuePause, or maxTransientIssuePause where the reason goes away by itself.
	minIssuePause          = 5 * time.Second
	maxIssuePause          = 5 * time.Minute
	maxTransientIssuePause = 30 * time.Second
	// maxIssueFailures bounds for how many Connections that is remembered, maxFailuresOfNamespace for how many of one
	// namespace.
	maxIssueFailures       = 4_000
	maxFailuresOfNamespace = 500
)

// issueBackoff keeps a lasting mistake, such as a reference to a key that an engine's responses do not have, from
// having Vault issue a credential at each try of each volume, to be revoked at once. flowcontrol.Backoff does not do:
// it keeps no fault to tell of, has one longest pause for all, and no bound.
type issueBackoff struct {
	clock clock.PassiveClock

	mu       sync.Mutex // from the look into failures to the entry
	failures *shares.Cache[issueKey, issueFailure]
}

// issueKey is a digest of a Connection as it is, with a pod's overrides: these may be large.
type issueKey [sha256.Size]byte

type issueFailure struct {
	fault *fault.Fault
	until time.Time
	// forget is when it says nothing any more.
	forget time.Time
	steps  wait.Backoff
}

func newIssueBackoff(clk clock.PassiveClock) *issueBackoff {
	failures := shares.NewCache[issueKey, issueFailure](maxIssueFailures, maxFailuresOfNamespace)
	return &issueBackoff{clock: clk, failures: failures}
}

// Blocked returns the fault of the last failure while nothing is to be issued for a Connection as it is.
func (b *issueBackoff) Blocked(key string) error {
	if last, ok := b.last(key); ok && b.clock.Now().Before(last.until) {
		return last.fault
	}
	return nil
}

// Failed says that what was issued for a Connection of the namespace could not be used.
func (b *issueBackoff) Failed(namespace, key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	next, ok := b.last(key)
	switch {
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
	next.forget = next.until.Add(maxIssuePause)
	b.failures.Add(namespace, sha256.Sum256([]byte(key)), next, 1)
}

// Reset says that what was issued is used.
func (b *issueBackoff) Reset(key string) { b.failures.Remove(sha256.Sum256([]byte(key))) }

func (b *issueBackoff) last(key string) (issueFailure, bool) {
	last, ok := b.failures.Get(sha256.Sum256([]byte(key)))
	if !ok || !b.clock.Now().Before(last.forget) {
		return issueFailure{}, false
	}
	return last, true
}
