package transport

import (
	"cmp"
	"net/http"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Texts of Vault that no status code stands for. They are matched against Vault's errors, in the integration tests too.
const (
	textCASMismatch = "check-and-set parameter did not match"
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
			"%s → %d the secret's current version is another than the one expected (%s); somebody else wrote it", r, status, r.Actor)
	case response.Says(textUpgrading), response.Says(textPrimaryUpgrading):
		return fault.Transient(v1alpha1.ReasonVaultError,
			"%s → %d the engine is being upgraded to KV version 2 (%s); it is tried again", r, status, r.Actor)
	}
	return fault.Waiting(
		v1alpha1.ReasonInvalidRequest, "%s → %d Vault rejects the request (%s)", r, response.Status, r.Actor,
	).
		WithRemedy("%s", cmp.Or(r.Remedy, "check path and engine"))
}
