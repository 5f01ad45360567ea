package vault

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxHold bounds how long Vault can make a session wait.
const maxHold = time.Minute

// pace is when a session's requests may be sent: as spec.limits says, and not before the time that Vault named when it refused one
// because of a quota. A nil pace lets everything through.
type pace struct {
	// limiter is nil where spec.limits sets no bound.
	limiter *rate.Limiter

	mu    sync.Mutex
	until time.Time
}

func newPace(limits *v1alpha1.VaultLimits) *pace {
	p := &pace{}
	if limits != nil && limits.RequestsPerSecond != nil {
		burst := *limits.RequestsPerSecond
		if limits.Burst != nil {
			burst = *limits.Burst
		}
		p.limiter = rate.NewLimiter(rate.Limit(*limits.RequestsPerSecond), int(burst))
	}
	return p
}

// turn waits until the request may be sent. It says so at once if that would take longer than the caller wants to wait, or than one
// request may take.
func (p *pace) turn(ctx context.Context, timeout time.Duration, r request) error {
	if p == nil {
		return nil
	}
	allowed := patience(ctx, timeout)
	held := max(time.Until(p.heldUntil()), 0)
	if held > 0 && held > allowed {
		return fault.Transient(v1alpha1.ReasonRateLimited, "%s → not sent: a quota in Vault is used up, and Vault wants no request for %s (%s); "+
			"raise the quota", r, held.Round(time.Second), r.as)
	}
	if err := pause(ctx, held, r); err != nil || p.limiter == nil {
		return err
	}
	if r.vital() {
		_ = p.limiter.Allow() // it counts, but a token that dies for want of a turn would cost more requests
		return nil
	}
	turn := p.limiter.Reserve()
	if wait := turn.Delay(); wait > 0 && wait > allowed-held {
		turn.Cancel()
		return fault.Transient(v1alpha1.ReasonRateLimited, "%s → not sent: its turn comes only in %s, for more is asked of Vault than "+
			"spec.limits allows, %g requests a second (%s); raise spec.limits.requestsPerSecond", r, wait.Round(100*time.Millisecond), float64(p.limiter.Limit()), r.as)
	}
	if err := pause(ctx, turn.Delay(), r); err != nil {
		turn.Cancel()
		return err
	}
	return nil
}

// hold lets nothing be sent for a while.
func (p *pace) hold(d time.Duration) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until) {
		p.until = until
	}
}

func (p *pace) heldUntil() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

// vital requests keep a token alive.
func (r request) vital() bool { return r.path == "auth/token/renew-self" }

// patience is how long a request may wait before it is sent.
func patience(ctx context.Context, timeout time.Duration) time.Duration {
	if deadline, has := ctx.Deadline(); has {
		return min(time.Until(deadline), timeout)
	}
	return timeout
}

func pause(ctx context.Context, d time.Duration, r request) error {
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
		return fault.Transient(v1alpha1.ReasonInternal, "%s → given up before it was sent (%s)", r, r.as)
	}
	return fault.Transient(v1alpha1.ReasonRateLimited, "%s → not sent in the time that the caller allows (%s)", r, r.as)
}
