package vaulttask

import (
	"context"
	"fmt"
	"io"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// maxCASFollowed bounds how often a write without a cas of its own follows other writers before the queue takes over.
const maxCASFollowed = 3

// kvWrite is a Write or Patch of a KV secret.
type kvWrite struct {
	*attempt
	to *target
	// data to write; a nil value removes a key.
	data map[string]any
}

// Format prints none of the data, for every verb.
func (w *kvWrite) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "write to "+w.to.shown())
}

// write writes or patches a KV secret. In version 2 it does so with the check-and-set version of the claim, so that
// Vault accepts it at most once, however often it is sent.
func (a *attempt) write(ctx context.Context, to *target) (*outcome, error) {
	data, err := a.input(ctx, to)
	if err != nil {
		return nil, err
	}
	version, err := secrets.KVVersion(ctx, to.session, to.location)
	if err != nil {
		return nil, err
	}
	w := &kvWrite{attempt: a, to: to, data: data}
	switch {
	case version == v1alpha1.KVVersion1:
		return w.unversioned(ctx)
	case a.resumed:
		return w.resume(ctx)
	}
	return w.claimAndSend(ctx)
}

// claimAndSend claims the next version and writes it. Where other writers come in between it follows them a few times.
func (w *kvWrite) claimAndSend(ctx context.Context) (*outcome, error) {
	for try := 1; ; try++ {
		w.called = true // from here on a refusal is Vault's answer to the operation
		cas, err := w.checkAndSet(ctx)
		if err != nil {
			return nil, err
		}
		if err := w.claim(ctx, &v1alpha1.TaskClaim{CAS: &cas}); err != nil {
			return nil, err
		}
		if err := w.unwrap(ctx, w.to, w.data); err != nil {
			return nil, err
		}
		written, err := w.send(ctx, cas)
		switch {
		case err == nil:
			return writeOutcome(written, w.data), nil
		case !fault.Is(err, v1alpha1.ReasonCASMismatch):
			return nil, err
		case w.createsOnly():
			return nil, w.exists(ctx)
		case w.task.Spec.CAS != nil || try == maxCASFollowed:
			return nil, w.mismatch(ctx, cas)
		}
		// Somebody else wrote in between, and Vault has refused ours: claim the next version. That fails if another
		// attempt took the run up.
	}
}

// mismatch is the fault of a write that Vault refused because another version is there than the one to follow.
func (w *kvWrite) mismatch(ctx context.Context, expected int64) *fault.Fault {
	version, known := w.current(ctx)
	return versionMismatch(w.task, w.to.shown(), expected, version, known)
}

// versionMismatch says which version a write was to follow, which there is, where that is known, and what to do.
func versionMismatch(task *v1alpha1.VaultTask, path string, expected, version int64, known bool) *fault.Fault {
	wanted := "to be the first version"
	if expected > 0 {
		wanted = fmt.Sprintf("to follow version %d", expected)
	}
	there := fmt.Sprintf("version %d of %s is there", version, path)
	switch {
	case !known:
		there = "another version of " + path + " is there, and Vault does not tell which"
	case version == 0:
		there = "there is no version of " + path
	}
	f := fault.Terminal(v1alpha1.ReasonCASMismatch, "nothing was written: the write was %s, and %s", wanted, there)
	switch {
	case task.Spec.CAS == nil:
		return f.WithRemedy("others write it at the same time: set the annotation %s to run the task again", v1alpha1.AnnotationRerun)
	case known:
		return f.WithRemedy("look at what is there, then create another VaultTask with cas: %d", version)
	}
	return f.WithRemedy("look at what is there, then create another VaultTask with its version as cas")
}

// exists is the fault of generated values for a secret that is there.
func (w *kvWrite) exists(ctx context.Context) *fault.Fault {
	if version, known := w.current(ctx); known && version > 0 {
		return replacesNothing("there is a secret at %s already, of version %d", w.to.shown(), version).
			WithRemedy("set overwrite: true to rotate it, or cas: %d to replace this version", version)
	}
	return replacesNothing("there is a secret at %s already", w.to.shown()).WithRemedy("set overwrite: true to rotate it, or cas")
}

// current is the version that is there, where Vault tells.
func (w *kvWrite) current(ctx context.Context) (version int64, known bool) {
	version, err := secrets.CurrentVersion(ctx, w.to.session, w.to.location)
	return version, err == nil
}

func (w *kvWrite) send(ctx context.Context, cas int64) (*secrets.Written, error) {
	w.state.Calling(w.data)
	if w.patches() {
		return secrets.Patch(ctx, w.to.session, w.to.location, w.data, cas)
	}
	return secrets.Write(ctx, w.to.session, w.to.location, w.data, cas)
}

// checkAndSet finds the version that the write is to follow.
func (w *kvWrite) checkAndSet(ctx context.Context) (int64, error) {
	switch {
	case w.task.Spec.CAS != nil:
		return *w.task.Spec.CAS, nil
	case w.patches():
		return w.checkAndSetOfPatch(ctx)
	case w.createsOnly():
		return 0, nil
	}
	return secrets.CurrentVersion(ctx, w.to.session, w.to.location)
}

// checkAndSetOfPatch also makes sure that there is a secret to patch, without the keys that are generated.
func (w *kvWrite) checkAndSetOfPatch(ctx context.Context) (int64, error) {
	if !w.createsOnly() {
		version, err := secrets.CurrentVersion(ctx, w.to.session, w.to.location)
		if err == nil && version == 0 {
			err = fault.Terminal(v1alpha1.ReasonSecretNotFound, "there is no secret at %s to patch", w.to.shown()).
				WithRemedy("use operation Write, or correct secretPath")
		}
		return version, err
	}
	secret, err := secrets.Read(ctx, w.to.session, w.to.location)
	if err != nil {
		return 0, err
	}
	for _, value := range w.task.Spec.Generate {
		if _, exists := secret.Data[value.Key]; exists {
			return 0, replacesNothing("%s has the key %q already", secret.Path, value.Key).
				WithRemedy("set overwrite: true to rotate it")
		}
	}
	return secret.Version, nil
}

func (w *kvWrite) patches() bool { return w.task.Spec.Operation == v1alpha1.OperationPatch }

// createsOnly tells whether the task holds generated values that must not replace anything.
func (w *kvWrite) createsOnly() bool {
	return len(w.task.Spec.Generate) > 0 && w.task.Spec.CAS == nil && !isTrue(w.task.Spec.Overwrite)
}

// replacesNothing is the fault for generated values that would have replaced something.
func replacesNothing(format string, args ...any) *fault.Fault {
	return fault.Terminal(v1alpha1.ReasonCASMismatch,
		"nothing was written: "+format+", and generated values replace nothing", args...)
}

func writeOutcome(written *secrets.Written, data map[string]any) *outcome {
	result := &v1alpha1.TaskResult{
		Path: written.Path, Version: written.Version, CreatedTime: status.Time(written.CreatedTime),
		RequestID: written.RequestID,
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
