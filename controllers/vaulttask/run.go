package vaulttask

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault"
)

// claimAttempts bounds how often a write without a cas of its own follows other writers before the queue takes over.
const claimAttempts = 3

// run is one attempt at a task.
type run struct {
	*Reconciler
	task *v1alpha1.VaultTask
	// resumed is true when an earlier attempt claimed the run: its call may have reached Vault.
	resumed bool
	// called is true once the operation itself was sent; a definite refusal after that ends the task.
	called bool
	// refers is true if the data holds references, and so may differ between two attempts.
	refers bool
	// storeErr is set when the claim could not be stored; nothing was sent then.
	storeErr error
}

// execute finds the Vault to use and runs the operation.
func (r *run) execute(ctx context.Context) (*v1alpha1.TaskResult, error) {
	config, err := r.engine.Config(ctx, r.task.Namespace, r.task.Spec.VaultConfigRef)
	if err != nil {
		return nil, err
	}
	location := vault.Location{
		EnginePath: r.task.Spec.EnginePath,
		SecretPath: r.task.Spec.SecretPath,
		KVVersion:  v1alpha1.KVVersion2,
	}
	if location.EnginePath == "" {
		location.EnginePath = config.Spec.EnginePath
	}
	if location.EnginePath == "" {
		return nil, fault.Invalid(v1alpha1.ReasonInvalidSpec,
			"no engine is named: set spec.enginePath, or enginePath in VaultConfig %s/%s", config.Namespace, config.Name)
	}
	session, err := r.sessions.For(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := r.permitted(ctx, config, session, location); err != nil {
		return nil, err
	}
	if r.task.Spec.Operation == v1alpha1.OperationWrite {
		return r.write(ctx, session, location)
	}
	return r.read(ctx, session, location)
}

// permitted asks whether a VaultConfig of another namespace lets the task do this there.
func (r *run) permitted(ctx context.Context, config *v1alpha1.VaultConfig, session *vault.Session, location vault.Location) error {
	if config.Namespace == r.task.Namespace {
		return nil
	}
	path, engine, err := session.Confirm(ctx, location)
	if err != nil {
		return err
	}
	return r.engine.Permit(ctx, config, resolver.Use{
		Namespace: r.task.Namespace, Path: path, KV2Engine: engine, Operation: r.task.Spec.Operation,
	})
}

// read has no effect in Vault, so it is claimed only to record which rerun it answers.
func (r *run) read(ctx context.Context, session *vault.Session, location vault.Location) (*v1alpha1.TaskResult, error) {
	if r.task.Spec.Version != nil {
		location.Version = *r.task.Spec.Version
	}
	if !r.resumed {
		if r.storeErr = r.claim(ctx, nil); r.storeErr != nil {
			return nil, r.storeErr
		}
	}
	r.called = true
	secret, err := session.Read(ctx, location)
	if err != nil {
		return nil, err
	}
	return &v1alpha1.TaskResult{
		Path:        secret.Path,
		Version:     secret.Version,
		CreatedTime: status.Time(secret.CreatedTime),
		Keys:        slices.Sorted(maps.Keys(secret.Data)),
		RequestID:   secret.RequestID,
	}, nil
}

// write writes with the check-and-set version of the claim, so that Vault accepts it at most once, however often it is sent.
func (r *run) write(ctx context.Context, session *vault.Session, location vault.Location) (*v1alpha1.TaskResult, error) {
	data, err := r.data(ctx)
	if err != nil {
		return nil, err
	}
	if r.resumed {
		return r.resume(ctx, session, location, data)
	}
	for attempt := 1; ; attempt++ {
		r.called = true // from here on a refusal is Vault's answer to the operation
		cas, err := r.checkAndSet(ctx, session, location)
		if err != nil {
			return nil, err
		}
		if r.storeErr = r.claim(ctx, &cas); r.storeErr != nil {
			return nil, r.storeErr
		}
		written, err := session.Write(ctx, location, data, cas)
		if err == nil {
			return writeResult(written, data), nil
		}
		if r.task.Spec.CAS == nil && fault.Is(err, v1alpha1.ReasonCASMismatch) && attempt < claimAttempts {
			continue // somebody else wrote in between, and Vault has refused ours: claim the next version
		}
		return nil, err
	}
}

// resume repeats a claimed write with the same check-and-set version. If Vault refuses it, something was written since the
// claim: whether that was this task is settled by comparing what now stands in the claimed version.
func (r *run) resume(ctx context.Context, session *vault.Session, location vault.Location, data map[string]any) (*v1alpha1.TaskResult, error) {
	r.called = true
	cas := *r.task.Status.Claim.CAS
	written, err := session.Write(ctx, location, data, cas)
	if err == nil {
		return writeResult(written, data), nil
	}
	if !fault.Is(err, v1alpha1.ReasonCASMismatch) {
		return nil, err
	}
	location.Version = cas + 1
	secret, readErr := session.Read(ctx, location)
	if readErr != nil {
		f := fault.From(readErr)
		if f.Class == fault.Retry {
			return nil, f
		}
		return nil, fault.Invalid(v1alpha1.ReasonOutcomeUnknown,
			"an earlier attempt may have written version %d, and that cannot be looked up: %s; check the secret, then set the annotation %s to run the task again",
			cas+1, f.Sentence, v1alpha1.AnnotationRerun)
	}
	if !same(secret.Data, data) && r.refers {
		return nil, fault.Invalid(v1alpha1.ReasonOutcomeUnknown,
			"version %d of %s holds something else than this task would write now, but what it refers to may have changed since an earlier attempt; "+
				"check the secret, then set the annotation %s to run the task again", cas+1, secret.Path, v1alpha1.AnnotationRerun)
	}
	if !same(secret.Data, data) {
		return nil, fault.Invalid(v1alpha1.ReasonCASMismatch,
			"nothing was written: version %d of %s is somebody else's", cas+1, secret.Path)
	}
	return writeResult(&vault.Written{Version: secret.Version, CreatedTime: secret.CreatedTime, Path: secret.Path}, data), nil
}

// data returns what to write, with references resolved; it is forgotten when the run ends.
func (r *run) data(ctx context.Context) (map[string]any, error) {
	literal := make(map[string]apiextensionsv1.JSON, len(r.task.Spec.Data))
	for key, text := range r.task.Spec.Data {
		encoded, err := json.Marshal(text)
		if err != nil {
			return nil, fault.Invalid(v1alpha1.ReasonInvalidSpec, "spec.data: key %q cannot be written as JSON", key)
		}
		literal[key] = apiextensionsv1.JSON{Raw: encoded}
	}
	value, err := expression.ParseValue(literal)
	if err != nil {
		return nil, fault.In(err, "spec.data")
	}
	r.refers = len(value.References()) > 0
	data, err := r.engine.Evaluate(ctx, r.task.Namespace, value)
	if err != nil {
		return nil, fault.In(err, "spec.data")
	}
	return data, nil
}

func (r *run) checkAndSet(ctx context.Context, session *vault.Session, location vault.Location) (int64, error) {
	if r.task.Spec.CAS != nil {
		return *r.task.Spec.CAS, nil
	}
	return session.CurrentVersion(ctx, location)
}

// claim records that the call is about to be made. The update fails if anybody else touched the task since it was read live.
func (r *run) claim(ctx context.Context, cas *int64) error {
	begin(r.task, &v1alpha1.TaskClaim{Rerun: r.task.Annotations[v1alpha1.AnnotationRerun], CAS: cas}, r.clock.Now())
	return r.client.Status().Update(ctx, r.task)
}

func writeResult(written *vault.Written, data map[string]any) *v1alpha1.TaskResult {
	return &v1alpha1.TaskResult{
		Path:        written.Path,
		Version:     written.Version,
		CreatedTime: status.Time(written.CreatedTime),
		Keys:        slices.Sorted(maps.Keys(data)),
		RequestID:   written.RequestID,
	}
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
