package vaulttask

import (
	"context"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault"
)

// writeUnversioned writes a KV version 1 secret. Nothing in Vault keeps it from being written twice, so that it is sent once, and an
// answer that was lost is settled by looking.
func (a *attempt) writeUnversioned(ctx context.Context, to *target, data map[string]any) (*outcome, error) {
	switch {
	case a.task.Spec.Operation == v1alpha1.OperationPatch:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the engine at %s is KV version 1, which cannot patch; use operation Write", to.location.EnginePath)
	case a.task.Spec.CAS != nil:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the engine at %s is KV version 1, which has no check-and-set; remove cas", to.location.EnginePath)
	}
	a.called = true
	if a.resumed {
		return a.settleUnversioned(ctx, to, data)
	}
	if err := a.vacant(ctx, to); err != nil {
		return nil, err
	}
	if err := a.claim(ctx, &v1alpha1.TaskClaim{}); err != nil {
		return nil, err
	}
	if err := a.unwrap(ctx, to, data); err != nil {
		return nil, err
	}
	a.sending(data)
	written, err := to.session.WriteUnversioned(ctx, to.location, data)
	if err != nil {
		return nil, err
	}
	return writeOutcome(written, data), nil
}

// vacant returns a fault if generated values would replace a KV version 1 secret.
func (a *attempt) vacant(ctx context.Context, to *target) error {
	if !a.createsOnly() {
		return nil
	}
	_, err := to.session.Read(ctx, to.location)
	switch {
	case err == nil:
		return fault.Terminal(v1alpha1.ReasonCASMismatch, "nothing was written: there is a secret at %s already, and generated values replace "+
			"nothing; set overwrite: true to rotate it", to.shown())
	case fault.Is(err, v1alpha1.ReasonSecretNotFound):
		return nil
	}
	return err
}

// settleUnversioned decides by what stands there whether an earlier attempt wrote a KV version 1 secret.
func (a *attempt) settleUnversioned(ctx context.Context, to *target, data map[string]any) (*outcome, error) {
	secret, err := to.session.Read(ctx, to.location)
	switch {
	case err != nil && fault.From(err).Class == fault.ClassTransient:
		return nil, err
	case err != nil:
		return nil, unknown("an earlier attempt may have written %s, and that cannot be looked up: %s", to.shown(), fault.From(err).Message())
	}
	ours, err := a.wrote(ctx, to, secret, data)
	if err != nil || !ours {
		return nil, unknown("an earlier attempt may have written %s, and something else stands there now", secret.Path)
	}
	return writeOutcome(&vault.Written{Path: secret.Path, RequestID: secret.RequestID}, secret.Data), nil
}

// deleteUnversioned deletes a KV version 1 secret. A second try could delete what somebody wrote after the first, so that an answer that
// was lost is settled by looking.
func (a *attempt) deleteUnversioned(ctx context.Context, to *target) (*outcome, error) {
	if len(a.task.Spec.Versions) > 0 {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the engine at %s is KV version 1, which keeps no versions; remove versions", to.location.EnginePath)
	}
	a.called = true
	secret, err := to.session.Read(ctx, to.location)
	switch {
	case a.resumed && fault.Is(err, v1alpha1.ReasonSecretNotFound):
		return deleted(&vault.Written{Path: to.shown()}), nil
	case a.resumed && err == nil:
		return nil, unknown("an earlier attempt may have deleted %s, and there is a secret now", secret.Path)
	case err != nil && !fault.Is(err, v1alpha1.ReasonPermissionDenied):
		return nil, err
	case a.resumed:
		return nil, unknown("an earlier attempt may have deleted %s, and that cannot be looked up: %s", to.shown(), fault.From(err).Message())
	}
	if err := a.claim(ctx, &v1alpha1.TaskClaim{}); err != nil {
		return nil, err
	}
	a.sending(nil)
	written, err := to.session.DeleteUnversioned(ctx, to.location)
	if err != nil {
		return nil, err
	}
	return deleted(written), nil
}
