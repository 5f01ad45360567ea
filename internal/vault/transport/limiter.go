package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxPause bounds how long Vault can make a session wait.
const maxPause = time.Minute

// RequestLimiter decides when a session's requests may be sent: as spec.limits says, and not before the time that Vault
// named when it refused one because of a quota. A nil RequestLimiter lets everything through.
//
// flowcontrol.RateLimiter would wait as long as its context allows, without saying so at once, and knows no pause.
type RequestLimiter struct {
	// limiter is nil where spec.limits sets no bound.
	limiter *rate.Limiter

	mu          sync.Mutex
	pausedUntil time.Time
}

// NewRequestLimiter returns the limiter of spec.limits.
func NewRequestLimiter(limits *v1alpha1.VaultLimits) *RequestLimiter {
	l := &RequestLimiter{}
	if limits != nil && limits.RequestsPerSecond != nil {
		burst := *limits.RequestsPerSecond
		if limits.Burst != nil {
			burst = *limits.Burst
		}
		l.limiter = rate.NewLimiter(rate.Limit(*limits.RequestsPerSecond), int(burst))
	}
	return l
}

// wait until the request may be sent. It fails at once if that would take longer than the caller wants to wait, or than
// one request may take.
func (l *RequestLimiter) wait(ctx context.Context, timeout time.Duration, r Request) error {
	if l == nil {
		return nil
	}
	allowed := maxWait(ctx, timeout)
	paused := max(time.Until(l.pauseEnd()), 0)
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
	reservation := l.limiter.Reserve()
	if delay := reservation.Delay(); delay > 0 && delay > allowed-paused {
		reservation.Cancel()
		return fault.Transient(v1alpha1.ReasonRateLimited,
			"%s → not sent: its turn comes only in %s, for more is asked of Vault than spec.limits allows, %g requests a second (%s)",
			r, delay.Round(100*time.Millisecond), float64(l.limiter.Limit()), r.Actor).
			WithRemedy("raise spec.limits.requestsPerSecond")
	}
	if err := sleep(ctx, reservation.Delay(), r); err != nil {
		reservation.Cancel()
		return err
	}
	return nil
}

// pauseFor lets nothing be sent for a while.
func (l *RequestLimiter) pauseFor(d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(d); until.After(l.pausedUntil) {
		l.pausedUntil = until
	}
}

func (l *RequestLimiter) pauseEnd() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pausedUntil
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
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Transient(v1alpha1.ReasonInternal, "%s → given up before it was sent (%s)", r, r.Actor)
	}
	return fault.Transient(v1alpha1.ReasonRateLimited, "%s → not sent in the time that the caller allows (%s)", r, r.Actor)
}
