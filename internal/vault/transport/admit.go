package transport

import (
	"context"
	"strings"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport/breaker"
)

// suspectAfter is how long a request hangs before sys/health is asked whether all of Vault does.
const suspectAfter = 5 * time.Second

// admit refuses a request at once while Vault answers nothing. Renewals pass always: each may be the last that comes in
// time. Whoever has the turn asks sys/health; without an answer the request itself is sent, for sys/health may be what
// something in front of Vault drops. A request with an effect is not risked for that, but for a login.
func (c *Conn) admit(ctx context.Context, r Request) error {
	if r.isRenewal() {
		return nil
	}
	t := c.transport
	risked := !r.hasEffect() || strings.HasPrefix(r.Path, "auth/")
	since, turn := t.breaker.Ask(risked)
	if since.IsZero() {
		return nil
	}
	if turn {
		look, cancel := context.WithTimeout(ctx, turnTime)
		defer cancel()
		_, _ = t.health.get(look, t.clock, t.clock.Now(), c.anonymous().askHealth)
		if !t.breaker.Open() || risked {
			return nil
		}
	}
	return c.aboutSubject(fault.Transient(v1alpha1.ReasonVaultUnreachable,
		"%s → not sent: %s has answered nothing since %s, and is asked again every %s (%s)",
		r, t.Address, since.UTC().Format(time.RFC3339), breaker.TryEvery, r.Actor).
		WithRemedy("look at Vault, and at the network on the way there").WithUnreachable())
}

// suspect has sys/health asked if the request that follows hangs. What it returns says that it does not.
func (c *Conn) suspect(ctx context.Context) (over func() bool) {
	t, began := c.transport, c.transport.clock.Now()
	anonymous, detached := c.anonymous(), context.WithoutCancel(ctx)
	return time.AfterFunc(suspectAfter, fault.Guarded(detached, func() {
		_, _ = t.health.get(detached, t.clock, began, anonymous.askHealth)
	})).Stop
}
