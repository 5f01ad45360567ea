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
	textLastUse     = "token had one use left"
	textUpgrading   = "Upgrading from non-versioned to versioned data"
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
	case status == http.StatusNotFound:
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 nothing at this path (%s)", r, r.Actor)
	case response.Says(textCASMismatch):
		return fault.Terminal(v1alpha1.ReasonCASMismatch,
			"%s → %d the secret's current version is another than the one expected (%s); somebody else wrote it", r, status, r.Actor)
	case response.Says(textLastUse):
		return fault.Waiting(v1alpha1.ReasonUseLimited,
			"%s → %d the token was used up by this request, and Vault revoked what it made (%s)", r, status, r.Actor).
			WithRemedy("let the login make tokens without limit (token_num_uses=0 in its role), or put one into the Secret")
	case response.Says(textUpgrading):
		return fault.Transient(v1alpha1.ReasonVaultError,
			"%s → %d the engine is being upgraded to KV version 2 (%s); it is tried again", r, status, r.Actor)
	}
	return fault.Waiting(
		v1alpha1.ReasonInvalidRequest, "%s → %d Vault rejects the request (%s)", r, response.Status, r.Actor,
	).
		WithRemedy("%s", cmp.Or(r.Remedy, "check path and engine"))
}
