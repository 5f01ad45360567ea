package vaulttask

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault"
)

// claimAttempts bounds how often a write without a cas of its own follows other writers before the queue takes over.
const claimAttempts = 3

// write writes or patches with the check-and-set version of the claim, so that Vault accepts it at most once, however often it
// is sent.
func (a *attempt) write(ctx context.Context, to *target) (*outcome, error) {
	data, err := a.input(ctx, to)
	if err != nil {
		return nil, err
	}
	version, err := to.session.KVVersion(ctx, to.location)
	if err != nil {
		return nil, err
	}
	if version == v1alpha1.KVVersion1 {
		return a.writeUnversioned(ctx, to, data)
	}
	if a.resumed {
		return a.resumeWrite(ctx, to, data)
	}
	for try := 1; ; try++ {
		a.called = true // from here on a refusal is Vault's answer to the operation
		cas, err := a.checkAndSet(ctx, to)
		if err != nil {
			return nil, err
		}
		if err := a.claim(ctx, &v1alpha1.TaskClaim{CAS: &cas}); err != nil {
			return nil, err
		}
		if err := a.unwrap(ctx, to, data); err != nil {
			return nil, err
		}
		written, err := a.send(ctx, to, data, cas)
		switch {
		case err == nil:
			return writeOutcome(written, data), nil
		case !fault.Is(err, v1alpha1.ReasonCASMismatch):
			return nil, err
		case a.createsOnly():
			return nil, fault.Terminal(v1alpha1.ReasonCASMismatch, "nothing was written: there is a secret at %s already, and generated values replace "+
				"nothing; set overwrite: true to rotate it, or cas", to.shown())
		case a.task.Spec.CAS != nil || try == claimAttempts:
			return nil, err
		}
		// Somebody else wrote in between, and Vault has refused ours: claim the next version. That fails if another attempt took the run up.
	}
}

func (a *attempt) send(ctx context.Context, to *target, data map[string]any, cas int64) (*vault.Written, error) {
	a.sending(data)
	if a.task.Spec.Operation == v1alpha1.OperationPatch {
		return to.session.Patch(ctx, to.location, data, cas)
	}
	return to.session.Write(ctx, to.location, data, cas)
}

// resumeWrite repeats a claimed write with the same check-and-set version. If Vault refuses it, something was written since the
// claim: whether that was this task is settled by looking at what now stands in the claimed version.
func (a *attempt) resumeWrite(ctx context.Context, to *target, data map[string]any) (*outcome, error) {
	a.called = true
	cas := ptr.Deref(a.task.Status.Claim.CAS, 0)
	if err := a.claim(ctx, &v1alpha1.TaskClaim{CAS: &cas}); err != nil {
		return nil, err
	}
	lost, err := a.unwrapAgain(ctx, to, data)
	if err != nil {
		return nil, err
	}
	if !lost {
		written, sendErr := a.send(ctx, to, data, cas)
		if sendErr == nil {
			return writeOutcome(written, data), nil
		}
		if !fault.Is(sendErr, v1alpha1.ReasonCASMismatch) {
			return nil, sendErr
		}
	}
	location := to.location
	location.Version = cas + 1
	secret, err := to.session.Read(ctx, location)
	switch {
	case err == nil:
		return a.settleWrite(ctx, to, secret, data, lost)
	case fault.From(err).Class == fault.ClassTransient:
		return nil, err
	case lost && fault.Is(err, v1alpha1.ReasonSecretNotFound):
		if current, currentErr := to.session.CurrentVersion(ctx, to.location); currentErr == nil && current == cas {
			return nil, fault.Terminal(v1alpha1.ReasonOutcomeUnknown, "nothing was written, but an earlier attempt used the wrapping token up; "+
				"have a new one made, then set the annotation %s to run the task again", v1alpha1.AnnotationRerun)
		}
	}
	return nil, unknown("an earlier attempt may have written version %d, and that cannot be looked up: %s", cas+1, fault.From(err).Message())
}

// settleWrite decides whether what stands in the claimed version is this task's.
func (a *attempt) settleWrite(ctx context.Context, to *target, secret *vault.Secret, data map[string]any, lost bool) (*outcome, error) {
	ours, err := a.wrote(ctx, to, secret, data)
	switch {
	case err != nil:
		return nil, err
	case ours:
		values := secret.Data
		if a.task.Spec.Operation == v1alpha1.OperationPatch {
			values = only(secret.Data, data)
		}
		return writeOutcome(&vault.Written{
			Version: secret.Version, CreatedTime: secret.CreatedTime, Path: secret.Path, RequestID: secret.RequestID,
		}, values), nil
	case (a.volatile || lost) && !a.known.made:
		return nil, unknown("version %d of %s holds something else than this task would write now, but what it writes may have been something else "+
			"at an earlier attempt", secret.Version, secret.Path)
	}
	return nil, fault.Terminal(v1alpha1.ReasonCASMismatch, "nothing was written: version %d of %s is somebody else's", secret.Version, secret.Path)
}

// wrote tells whether a version holds what this attempt, or an earlier one of this process, sent.
func (a *attempt) wrote(ctx context.Context, to *target, secret *vault.Secret, data map[string]any) (bool, error) {
	patch := a.task.Spec.Operation == v1alpha1.OperationPatch
	found := secret.Data
	if patch {
		found = only(secret.Data, data)
	}
	a.known.mu.Lock()
	sent := slices.Contains(a.known.digests, a.memory.digest(found))
	a.known.mu.Unlock()
	if !patch {
		return sent || same(found, data), nil
	}
	// A patch is recognised by what it made of the version before it.
	location := to.location
	location.Version = secret.Version - 1
	base, err := to.session.Read(ctx, location)
	if err != nil {
		if fault.From(err).Class == fault.ClassTransient {
			return false, err
		}
		return sent, nil
	}
	rest := func(of map[string]any) map[string]any {
		others := maps.Clone(of)
		for key := range data {
			delete(others, key)
		}
		return others
	}
	for key, value := range data {
		if _, exists := secret.Data[key]; value == nil && exists {
			return false, nil
		}
	}
	return (sent || same(found, only(data, data))) && same(rest(secret.Data), rest(base.Data)), nil
}

// checkAndSet finds the version that the write is to follow.
func (a *attempt) checkAndSet(ctx context.Context, to *target) (int64, error) {
	spec := &a.task.Spec
	switch {
	case spec.CAS != nil:
		return *spec.CAS, nil
	case spec.Operation == v1alpha1.OperationWrite && a.createsOnly():
		return 0, nil
	case spec.Operation == v1alpha1.OperationWrite:
		return to.session.CurrentVersion(ctx, to.location)
	}
	if !a.createsOnly() {
		version, err := to.session.CurrentVersion(ctx, to.location)
		if err == nil && version == 0 {
			err = fault.Terminal(v1alpha1.ReasonSecretNotFound, "there is no secret at %s to patch; use operation Write, or correct secretPath", to.shown())
		}
		return version, err
	}
	secret, err := to.session.Read(ctx, to.location)
	if err != nil {
		return 0, err
	}
	for _, value := range spec.Generate {
		if _, exists := secret.Data[value.Key]; exists {
			return 0, fault.Terminal(v1alpha1.ReasonCASMismatch, "nothing was written: %s has the key %q already, and generated values replace nothing; "+
				"set overwrite: true to rotate it", secret.Path, value.Key)
		}
	}
	return secret.Version, nil
}

// createsOnly tells whether the task holds generated values that must not replace anything.
func (a *attempt) createsOnly() bool {
	return len(a.task.Spec.Generate) > 0 && a.task.Spec.CAS == nil && !isTrue(a.task.Spec.Overwrite)
}

func writeOutcome(written *vault.Written, data map[string]any) *outcome {
	result := &v1alpha1.TaskResult{
		Path: written.Path, Version: written.Version, CreatedTime: status.Time(written.CreatedTime), RequestID: written.RequestID,
	}
	data = only(data, data)
	result.Keys, result.KeysOmitted = keysOf(data)
	return &outcome{result: result, message: "wrote " + versioned(written.Version, written.Path), values: data}
}

// only returns the keys of data that changes sets and does not remove.
func only(data, changes map[string]any) map[string]any {
	kept := make(map[string]any, len(changes))
	for key := range changes {
		if value, exists := data[key]; exists && value != nil {
			kept[key] = value
		}
	}
	return kept
}

// same compares two secrets as JSON, the form in which Vault keeps them.
func same(a, b map[string]any) bool { return reflect.DeepEqual(normal(a), normal(b)) }

func normal(data map[string]any) any {
	encoded, err := json.Marshal(data)
	if err != nil {
		return nil
	}
	var decoded any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		return nil
	}
	return decoded
}
