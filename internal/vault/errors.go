package vault

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// hasEffect tells requests that change something from those that only look.
func (r request) hasEffect() bool { return r.method != http.MethodGet }

// Texts of Vault that no status code stands for. They are matched against Vault's answers, in the integration tests too.
const (
	textCASMismatch = "check-and-set parameter did not match"
	textUpgrading   = "Upgrading from non-versioned to versioned data"
)

func (a *answer) says(text string) bool {
	return slices.ContainsFunc(a.Errors, func(e string) bool { return strings.Contains(e, text) })
}

// refusal makes the fault for an answer that is not a success. 404 is described in general terms: what is missing depends on the
// engine, see notFound.
func (l *link) refusal(ctx context.Context, r request, a *answer) error {
	switch status := a.status; {
	case status >= 500:
		f := l.serverError(ctx, r, status)
		return f.WithOutcomeUnknown(r.hasEffect())
	case status >= 300 && status < 400:
		return fault.Waiting(v1alpha1.ReasonVaultUnreachable, "%s → %d redirect to another address, which is not followed (%s); "+
			"point spec.url at Vault's active node or at a load balancer that finds it", r, status, r.as)
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return fault.Waiting(v1alpha1.ReasonPermissionDenied, "%s → %d permission denied (%s); its policy needs %s on %s",
			r, status, r.as, r.capability, cmp.Or(r.shown, r.path))
	case status == http.StatusTooManyRequests:
		return fault.Transient(v1alpha1.ReasonRateLimited, "%s → 429 too many requests (%s); a quota in Vault is used up", r, r.as)
	case status == http.StatusNotFound:
		return fault.Waiting(v1alpha1.ReasonSecretNotFound, "%s → 404 nothing at this path (%s)", r, r.as)
	case a.says(textCASMismatch):
		return fault.Terminal(v1alpha1.ReasonCASMismatch, "%s → %d the secret's current version is another than the one expected (%s); "+
			"somebody else wrote it", r, status, r.as)
	case a.says(textUpgrading):
		return fault.Transient(v1alpha1.ReasonVaultError, "%s → %d the engine is being upgraded to KV version 2 (%s); it is tried again",
			r, status, r.as)
	}
	return fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → %d Vault rejects the request (%s); %s", r, a.status, r.as,
		cmp.Or(r.cure, "check path and engine"))
}

// serverError tells a sealed Vault from one that is broken. Both say 503; only sys/health says which without having to trust the wording.
func (l *link) serverError(ctx context.Context, r request, status int) *fault.Fault {
	if status == http.StatusServiceUnavailable && r.path != "sys/health" {
		switch health, err := l.health(ctx, r.as); {
		case err != nil: // the first answer stands
		case !health.Initialized:
			return fault.Transient(v1alpha1.ReasonVaultSealed, "%s → 503 Vault is not initialized (%s); initialize and unseal it", r, r.as)
		case health.Sealed:
			return fault.Transient(v1alpha1.ReasonVaultSealed, "%s → 503 Vault is sealed (%s); unseal it", r, r.as)
		}
	}
	return fault.Transient(v1alpha1.ReasonVaultError, "%s → %d an error inside Vault (%s)", r, status, r.as).WithRemedy("Vault's own log says more")
}
