package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

// Texts of Vault that no status code stands for. They are matched against Vault's errors, in the integration tests too.
const (
	textCASMismatch = "check-and-set parameter did not match"
	textLastUse     = "token had one use left"
	textUpgrading   = "Upgrading from non-versioned to versioned data"
	// textPrimaryUpgrading is what a secondary says meanwhile.
	textPrimaryUpgrading = "Waiting for the primary to upgrade from non-versioned to versioned data"
)

// Statuses of Vault that package http has no name for: of a node that serves nobody, or not this request. Only a front
// end sends them with anything but sys/health.
const (
	statusRecoverySecondary  = 472
	statusPerformanceStandby = 473
)

// responseFault is the fault that stands for a response that is no success. 404 is described in general terms: what is
// missing depends on the engine. An error of the server may have come after the effect.
func responseFault(r Request, response *Response) *fault.Fault {
	switch status := response.Status; {
	case status >= 500:
		return fault.Transient(v1alpha1.ReasonVaultError, "%s → %d an error inside Vault (%s)", r, status, r.Actor).
			WithRemedy("Vault's own log says more").WithOutcomeUnknown(r.hasEffect())
	case status >= 300 && status < 400:
		return fault.Waiting(v1alpha1.ReasonVaultUnreachable, "%s → %d redirect to another address, which is not followed (%s)",
			r, status, r.Actor).
			WithRemedy("point spec.url at Vault's active node or at a load balancer that finds it")
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s → %d permission denied (%s)", r, status, r.Actor).
			WithRemedy("its policy needs %s on %s", r.Capability, r.shownPath())
	case status == http.StatusTooManyRequests:
		return fault.Transient(v1alpha1.ReasonRateLimited, "%s → 429 too many requests (%s); a quota in Vault is used up", r, r.Actor)
	case status == http.StatusPreconditionFailed:
		return fault.Transient(v1alpha1.ReasonVaultError,
			"%s → 412 this node of Vault has not yet seen what the token was made from (%s); it was tried again for as long as there was time",
			r, r.Actor).WithRemedy("look at the replication between Vault's nodes")
	case status == statusRecoverySecondary, status == statusPerformanceStandby:
		return fault.Transient(v1alpha1.ReasonVaultError, "%s → %d this node of Vault does not serve the request (%s)", r, status, r.Actor).
			WithRemedy("point spec.url at Vault's active node or at a load balancer that finds it")
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return fault.Transient(v1alpha1.ReasonVaultError, "%s → %d the request did not come through whole (%s)", r, status, r.Actor).
			WithOutcomeUnknown(r.hasEffect())
	case status == http.StatusNotFound:
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 nothing at this path (%s)", r, r.Actor)
	case response.Says(textCASMismatch):
		return fault.Terminal(v1alpha1.ReasonCASMismatch,
			"%s → %d the secret's current version is another than the one expected (%s); somebody else wrote it", r, status, r.Actor).
			WithRemedy("look at the secret, then write with its version as cas")
	case response.Says(textLastUse):
		return fault.Waiting(v1alpha1.ReasonUseLimited,
			"%s → %d the token was used up by this request, and Vault revoked what it made (%s)", r, status, r.Actor).
			WithRemedy("let the login make tokens without limit (token_num_uses=0 in its role), or put one into the Secret")
	case response.Says(textUpgrading), response.Says(textPrimaryUpgrading):
		return fault.Transient(v1alpha1.ReasonVaultError,
			"%s → %d the engine is being upgraded to KV version 2 (%s); it is tried again", r, status, r.Actor)
	}
	return fault.Waiting(
		v1alpha1.ReasonInvalidRequest, "%s → %d Vault rejects the request (%s)", r, response.Status, r.Actor,
	).
		WithRemedy("%s", cmp.Or(r.Remedy, "check path and engine"))
}

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
	address, proxy := c.transport.Address, c.transport.Proxy
	if notVault, is := errors.AsType[*errNotVault](err); is {
		f := fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s → %s answered, but not as Vault does: status %d %s (%s)",
			r, address, notVault.status, notVault.detail, r.Actor).
			WithRemedy("check that spec.url is Vault's own address")
		if notVault.status >= http.StatusInternalServerError { // else what stands before Vault may have refused
			return f.WithUnreachable()
		}
		return f
	}
	if errors.As(err, new(networks.ErrClosed)) {
		return fault.Waiting(v1alpha1.ReasonVaultUnreachable, "%s → %s leads to an address that is closed to the controller: "+
			"loopback, link-local, metadata, or the API server's (%s)", r, cmp.Or(proxy, address), r.Actor).
			WithRemedy("name an address of Vault's own, or have its network listed in the controller's --allowed-vault-networks")
	}
	if problem := describeProxy(err); problem != "" {
		return fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s → the proxy %s does not lead to %s: %s (%s)",
			r, proxy, address, problem, r.Actor).
			WithRemedy("check spec.proxy.url and the proxy")
	}
	if problem, remedy := describeTLS(err); problem != "" {
		return fault.Waiting(
			v1alpha1.ReasonTLSFailed, "%s → no TLS with %s: %s (%s)", r, address, problem, r.Actor,
		).WithRemedy("%s", remedy)
	}
	problem, remedy := describeConnection(err)
	if problem == timedOut && ctx.Err() == nil { // else it is the caller who did not want to wait that long
		problem += fmt.Sprintf(" after %s", c.timeout)
	}
	f := fault.Transient(v1alpha1.ReasonVaultUnreachable, "%s → no answer from %s: %s (%s)", r, address, problem, r.Actor).
		WithRemedy("%s", remedy)
	if errors.Is(err, errSpeaksTLS) {
		return f.WithClass(fault.ClassWaiting)
	}
	return f.WithUnreachable()
}
