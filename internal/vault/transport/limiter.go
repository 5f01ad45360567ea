package transport

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxPause bounds how long Vault can make a session wait.
const maxPause = time.Minute

// RequestLimiter decides when requests may be sent. That of a session does as spec.limits says, and sends none before
// the time that Vault named when it refused one because of a quota; that of a replica bounds those of all sessions.
// Namespaces have their requests sent in turn, one of each, and a refusal pauses the namespace whose request it was:
// the others find out by one of theirs, for it may be the quota of a path that only the one uses. A nil RequestLimiter
// lets everything through.
//
// flowcontrol.RateLimiter would wait as long as its context allows, without saying so at once, and knows no pause.
type RequestLimiter struct {
	// limiter is nil where there is no bound, and bound is what sets it otherwise.
	limiter *rate.Limiter
	bound   bound

	mu sync.Mutex
	// paused has until when, by namespace.
	paused map[string]time.Time
	// waiting are the requests of each namespace, the first to come first, and turns the namespaces that have any, the
	// next one first.
	waiting map[string][]chan struct{}
	turns   []string
	timer   *time.Timer
}

// bound says in sentences what sets a limit, and what raises it.
type bound struct{ set, raise string }

var (
	ofSpec    = bound{"spec.limits allows", "raise spec.limits.requestsPerSecond"}
	ofReplica = bound{
		"one replica may ask", "raise the controller's --vault-requests-per-second, or set spec.limits of who asks most",
	}
)

// NewRequestLimiter returns the limiter of spec.limits.
func NewRequestLimiter(limits *v1alpha1.VaultLimits) *RequestLimiter {
	l := newRequestLimiter(ofSpec)
	if limits != nil && limits.RequestsPerSecond != nil {
		burst := *limits.RequestsPerSecond
		if limits.Burst != nil {
			burst = *limits.Burst
		}
		l.limiter = rate.NewLimiter(rate.Limit(*limits.RequestsPerSecond), int(burst))
	}
	return l
}

// NewReplicaLimiter returns the limiter of all requests of a replica to whichever Vault; nil if they have no bound.
func NewReplicaLimiter(requestsPerSecond, burst int) *RequestLimiter {
	if requestsPerSecond <= 0 {
		return nil
	}
	l := newRequestLimiter(ofReplica)
	l.limiter = rate.NewLimiter(rate.Limit(requestsPerSecond), max(burst, 1))
	return l
}

func newRequestLimiter(by bound) *RequestLimiter {
	return &RequestLimiter{bound: by, paused: map[string]time.Time{}, waiting: map[string][]chan struct{}{}}
}

type userKey struct{}

// OnBehalfOf says for whose namespace the requests of a context are made: who uses a VaultConfig, which may be that of
// another namespace.
func OnBehalfOf(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, userKey{}, namespace)
}

// userOf is the namespace that requests are made for; empty: that of the VaultConfig.
func userOf(ctx context.Context) string {
	namespace, _ := ctx.Value(userKey{}).(string)
	return namespace
}

// wait until the request may be sent. It fails at once if that would take longer than the caller wants to wait, or than
// one request may take.
func (l *RequestLimiter) wait(ctx context.Context, timeout time.Duration, r Request) error {
	if l == nil {
		return nil
	}
	allowed := maxWait(ctx, timeout)
	paused := max(time.Until(l.pauseEnd(userOf(ctx))), 0)
	if r.isRenewal() { // the quota may be that of one path, and what is not renewed dies
		paused = 0
	}
	if paused > 0 && paused > allowed {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"%s → not sent: a quota in Vault is used up, and Vault wants no request for %s (%s)", r, paused.Round(time.Second), r.Actor).
			WithRemedy("raise the quota")
	}
	if err := sleep(ctx, paused, r); err != nil || l.limiter == nil {
		return err
	}
	if r.isTokenRenewal() {
		_ = l.limiter.Allow() // it counts, but a token that dies for want of a turn would cost more requests
		return nil
	}
	turn, delay := l.enqueue(userOf(ctx), allowed-paused) //nolint:contextcheck // its timer is for all that wait
	if turn == nil {
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"%s → not sent: its turn comes only in %s, for more is asked of Vault than %s, %g requests a second (%s)",
			r, delay.Round(100*time.Millisecond), l.bound.set, float64(l.limiter.Limit()), r.Actor).
			WithRemedy("%s", l.bound.raise)
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		if l.leave(userOf(ctx), turn) {
			return notSentInTime(ctx, r)
		}
		return nil // its turn came at the same moment
	}
}

// enqueue returns what is closed when it is a request's turn; nil if that would take longer than allowed, and how long.
func (l *RequestLimiter) enqueue(namespace string, allowed time.Duration) (turn chan struct{}, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delay = l.delay(namespace); delay > 0 && delay > allowed {
		return nil, delay
	}
	turn = make(chan struct{})
	if len(l.waiting[namespace]) == 0 {
		l.turns = append(l.turns, namespace)
	}
	l.waiting[namespace] = append(l.waiting[namespace], turn)
	l.send()
	return turn, delay
}

// delay is how long one more request of a namespace would wait: until all of its own that wait were sent, and of each
// other namespace as many. The caller holds the lock.
func (l *RequestLimiter) delay(namespace string) time.Duration {
	own := len(l.waiting[namespace])
	before := own
	for other, waiting := range l.waiting {
		if other != namespace {
			before += min(len(waiting), own+1)
		}
	}
	missing := float64(before+1) - l.limiter.Tokens()
	return time.Duration(max(missing, 0) / float64(l.limiter.Limit()) * float64(time.Second))
}

// send lets as many requests go as may, one of each namespace in turn, and comes back for the next when it may. The
// caller holds the lock.
func (l *RequestLimiter) send() {
	for len(l.turns) > 0 && l.limiter.Allow() {
		namespace := l.turns[0]
		close(l.waiting[namespace][0])
		l.waiting[namespace] = l.waiting[namespace][1:]
		if l.turns = l.turns[1:]; len(l.waiting[namespace]) > 0 {
			l.turns = append(l.turns, namespace)
		} else {
			delete(l.waiting, namespace)
		}
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if len(l.turns) > 0 {
		missing := 1 - l.limiter.Tokens()
		// A millisecond more, for it is rounded down.
		next := time.Duration(max(missing, 0)/float64(l.limiter.Limit())*float64(time.Second)) + time.Millisecond
		l.timer = time.AfterFunc(next, fault.Guarded(context.Background(), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.send()
		}))
	}
}

// leave takes a request out that waits no more; false if its turn came.
func (l *RequestLimiter) leave(namespace string, turn chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.waiting[namespace], turn)
	if at < 0 {
		return false
	}
	if l.waiting[namespace] = slices.Delete(l.waiting[namespace], at, at+1); len(l.waiting[namespace]) == 0 {
		delete(l.waiting, namespace)
		l.turns = slices.DeleteFunc(l.turns, func(n string) bool { return n == namespace })
	}
	return true
}

// pauseFor lets nothing of a namespace be sent for a while.
func (l *RequestLimiter) pauseFor(namespace string, d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.paused, func(_ string, until time.Time) bool { return until.Before(now) })
	if until := now.Add(d); until.After(l.paused[namespace]) {
		l.paused[namespace] = until
	}
}

func (l *RequestLimiter) pauseEnd(namespace string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused[namespace]
}

// maxWait is how long a request may wait before it is sent.
func maxWait(ctx context.Context, timeout time.Duration) time.Duration {
	if deadline, has := ctx.Deadline(); has {
		return min(time.Until(deadline), timeout)
	}
	return timeout
}

func sleep(ctx context.Context, d time.Duration, r Request) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return notSentInTime(ctx, r)
	}
}

func notSentInTime(ctx context.Context, r Request) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Transient(v1alpha1.ReasonInternal, "%s → given up before it was sent (%s)", r, r.Actor)
	}
	return fault.Transient(v1alpha1.ReasonRateLimited, "%s → not sent in the time that the caller allows (%s)", r, r.Actor)
}
