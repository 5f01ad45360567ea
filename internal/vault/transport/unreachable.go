package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

// unanswered makes the fault for a request that Vault did not answer. The error's own text is not used: it holds
// addresses, and whatever the other side chose to say.
func (c *Conn) unanswered(ctx context.Context, r Request, sent bool, err error) error {
	if f, isFault := errors.AsType[*fault.Fault](err); isFault { // it never left
		return f
	}
	unknown := sent && r.hasEffect()
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.Transient(v1alpha1.ReasonInternal, "%s → given up before Vault answered (%s)", r, r.Actor).WithOutcomeUnknown(unknown)
	}
	return c.aboutSubject(c.describe(ctx, r, err).WithOutcomeUnknown(unknown))
}

func (c *Conn) describe(ctx context.Context, r Request, err error) *fault.Fault {
	origin, proxy := c.transport.Origin, c.transport.Proxy
	if notVault, is := errors.AsType[*errNotVault](err); is {
		return fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s → %s answered, but not as Vault does: status %d %s (%s)",
			r, origin, notVault.status, notVault.detail, r.Actor).
			WithRemedy("check that spec.url is Vault's own address")
	}
	if errors.As(err, new(networks.ErrClosed)) {
		return fault.Waiting(v1alpha1.ReasonVaultUnreachable, "%s → %s leads to an address that is closed to the controller: "+
			"loopback, link-local, metadata, or the API server's (%s)", r, cmp.Or(proxy, origin), r.Actor).
			WithRemedy("name an address of Vault's own, or have its network listed in the controller's --allowed-vault-networks")
	}
	if problem := describeProxy(err); problem != "" {
		return fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s → the proxy %s does not lead to %s: %s (%s)",
			r, proxy, origin, problem, r.Actor).
			WithRemedy("check spec.proxy.url and the proxy")
	}
	if problem, remedy := describeTLS(err); problem != "" {
		return fault.Waiting(
			v1alpha1.ReasonTLSFailed, "%s → no TLS with %s: %s (%s)", r, origin, problem, r.Actor,
		).WithRemedy("%s", remedy)
	}
	problem, remedy := describeConnection(err)
	if problem == timedOut && ctx.Err() == nil { // else it is the caller who did not want to wait that long
		problem += fmt.Sprintf(" after %s", c.timeout)
	}
	f := fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s → no answer from %s: %s (%s)", r, origin, problem, r.Actor).
		WithRemedy("%s", remedy)
	if errors.Is(err, errSpeaksTLS) {
		return f.WithClass(fault.ClassWaiting)
	}
	return f
}
