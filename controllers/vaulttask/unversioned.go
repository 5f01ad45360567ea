package vaulttask

import (
	"context"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// unversioned writes a KV version 1 secret. Nothing in Vault keeps it from being written twice, so that it is sent
// once; where an answer was lost, what stands there decides.
func (w *kvWrite) unversioned(ctx context.Context) (*outcome, error) {
	switch {
	case w.patches():
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the engine at %s is KV version 1, which cannot patch", w.to.location.EnginePath).
			WithRemedy("use operation Write")
	case w.task.Spec.CAS != nil:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the engine at %s is KV version 1, which has no check-and-set",
			w.to.location.EnginePath).WithRemedy("remove cas")
	}
	w.called = true
	if w.resumed {
		return w.verifyUnversioned(ctx)
	}
	if err := w.vacant(ctx); err != nil {
		return nil, err
	}
	if err := w.claim(ctx, &v1alpha1.TaskClaim{}); err != nil {
		return nil, err
	}
	if err := w.unwrap(ctx, w.to, w.data); err != nil {
		return nil, err
	}
	w.state.Calling(w.data)
	written, err := secrets.WriteUnversioned(ctx, w.to.session, w.to.location, w.data)
	if err != nil {
		return nil, err
	}
	return writeOutcome(written, w.data), nil
}

// vacant returns a fault if generated values would replace a KV version 1 secret.
func (w *kvWrite) vacant(ctx context.Context) error {
	if !w.createsOnly() {
		return nil
	}
	_, err := secrets.Read(ctx, w.to.session, w.to.location)
	switch {
	case err == nil:
		return replacesNothing("there is a secret at %s already", w.to.shown()).
			WithRemedy("set overwrite: true to rotate it")
	case fault.Is(err, v1alpha1.ReasonSecretNotFound):
		return nil
	}
	return err
}

// verifyUnversioned decides by what stands there whether an earlier attempt wrote a KV version 1 secret.
func (w *kvWrite) verifyUnversioned(ctx context.Context) (*outcome, error) {
	secret, err := secrets.Read(ctx, w.to.session, w.to.location)
	switch {
	case err != nil && fault.From(err).Class == fault.ClassTransient:
		return nil, err
	case err != nil:
		return nil, unknown("an earlier attempt may have written %s, and that cannot be looked up: %s", w.to.shown(), fault.From(err).Message())
	}
	written, err := w.wrote(ctx, secret)
	if err != nil || !written {
		return nil, unknown("an earlier attempt may have written %s, and something else stands there now", secret.Path)
	}
	return writeOutcome(&secrets.Written{Path: secret.Path, RequestID: secret.RequestID}, secret.Data), nil
}

// deleteUnversioned deletes a KV version 1 secret. A second try could delete what somebody wrote after the first, so
// that where an answer was lost, what stands there decides.
func (a *attempt) deleteUnversioned(ctx context.Context, to *target) (*outcome, error) {
	if len(a.task.Spec.Versions) > 0 {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the engine at %s is KV version 1, which keeps no versions",
			to.location.EnginePath).WithRemedy("remove versions")
	}
	a.called = true
	secret, err := secrets.Read(ctx, to.session, to.location)
	switch {
	case a.resumed && fault.Is(err, v1alpha1.ReasonSecretNotFound):
		return deleted(&secrets.Written{Path: to.shown()}), nil
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
	a.state.Calling(nil)
	written, err := secrets.DeleteUnversioned(ctx, to.session, to.location)
	if err != nil {
		return nil, err
	}
	return deleted(written), nil
}
