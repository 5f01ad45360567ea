package vaulttask

import (
	"context"
	"maps"

	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/controllers/vaulttask/claims"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// resume repeats a claimed write of KV version 2 with the same check-and-set version. If Vault refuses it, something
// was written since the claim: whether that was this task shows in what now stands in the claimed version.
func (w *kvWrite) resume(ctx context.Context) (*outcome, error) {
	w.called = true
	cas := ptr.Deref(w.task.Status.Claim.CAS, 0)
	if err := w.claim(ctx, &v1alpha1.TaskClaim{CAS: &cas}); err != nil {
		return nil, err
	}
	lost, err := w.unwrapAgain(ctx, w.to, w.data)
	if err != nil {
		return nil, err
	}
	if !lost {
		written, sendErr := w.send(ctx, cas)
		if sendErr == nil {
			return writeOutcome(written, w.data), nil
		}
		if !fault.Is(sendErr, v1alpha1.ReasonCASMismatch) {
			return nil, sendErr
		}
	}
	location := w.to.location
	location.Version = cas + 1
	secret, err := secrets.Read(ctx, w.to.session, location)
	switch {
	case err == nil:
		return w.verify(ctx, secret, lost)
	case fault.From(err).Class == fault.ClassTransient:
		return nil, err
	case lost && fault.Is(err, v1alpha1.ReasonSecretNotFound):
		if current, currentErr := secrets.CurrentVersion(ctx, w.to.session, w.to.location); currentErr == nil &&
			current == cas {
			return nil, fault.Terminal(v1alpha1.ReasonOutcomeUnknown, "nothing was written, but an earlier attempt used the wrapping token up").
				WithRemedy("have a new one made, then set the annotation %s to run the task again", v1alpha1.AnnotationRerun)
		}
	}
	return nil, unknown("an earlier attempt may have written version %d, and that cannot be looked up: %s", cas+1, fault.From(err).Message())
}

// verify decides whether what stands in the claimed version is this task's.
func (w *kvWrite) verify(ctx context.Context, secret *secrets.Secret, lost bool) (*outcome, error) {
	written, err := w.wrote(ctx, secret)
	switch {
	case err != nil:
		return nil, err
	case written:
		values := secret.Data
		if w.patches() {
			values = only(secret.Data, w.data)
		}
		return writeOutcome(&secrets.Written{
			Version: secret.Version, CreatedTime: secret.CreatedTime, Path: secret.Path, RequestID: secret.RequestID,
		}, values), nil
	case (lost || volatile(w.task)) && !w.state.IsLocal():
		return nil, unknown("version %d of %s holds something else than this task would write now, but what it writes may have been something else "+
			"at an earlier attempt", secret.Version, secret.Path)
	}
	return nil, w.mismatch(ctx, secret.Version-1)
}

// wrote tells whether a version holds what this attempt, or an earlier one of this process, sent.
func (w *kvWrite) wrote(ctx context.Context, secret *secrets.Secret) (bool, error) {
	if !w.patches() {
		return w.state.Sent(secret.Data) || claims.SameData(secret.Data, w.data), nil
	}
	// A patch is recognised by what it made of the version before it.
	sent := w.state.Sent(only(secret.Data, w.data))
	location := w.to.location
	location.Version = secret.Version - 1
	base, err := secrets.Read(ctx, w.to.session, location)
	if err != nil {
		if fault.From(err).Class == fault.ClassTransient {
			return false, err
		}
		return sent, nil
	}
	for key, value := range w.data {
		if _, exists := secret.Data[key]; value == nil && exists {
			return false, nil
		}
	}
	sent = sent || claims.SameData(only(secret.Data, w.data), only(w.data, w.data))
	return sent && claims.SameData(w.untouched(secret.Data), w.untouched(base.Data)), nil
}

// untouched returns what a patch leaves as it is.
func (w *kvWrite) untouched(of map[string]any) map[string]any {
	others := maps.Clone(of)
	for key := range w.data {
		delete(others, key)
	}
	return others
}
