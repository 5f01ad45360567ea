package vaulttask

import (
	"context"
	"crypto/rand"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// attempt is one attempt at a run.
type attempt struct {
	*Reconciler
	task *v1alpha1.VaultTask
	// before is the task as it was read.
	before *v1alpha1.VaultTask
	// known is what this process knows of the claim.
	known *knowledge
	// resumed is true when an earlier attempt claimed the run and may have called Vault.
	resumed bool
	// called is true once the operation itself was begun; a definite refusal after that ends the task.
	called bool
	// volatile is true if the data may differ between two attempts: it holds references, or comes from other objects or chance.
	volatile bool
	// storeErr is set when the claim could not be stored; nothing was sent then.
	storeErr error
}

// outcome is what a run brought about.
type outcome struct {
	result  *v1alpha1.TaskResult
	message string
	// values that were read, written or answered; they leave it sealed or wrapped, or not at all.
	values map[string]any
}

// execute finds the Vault to use and runs the operation.
func (a *attempt) execute(ctx context.Context) (*outcome, error) {
	if !a.resumed {
		if late := overdue(a.task, false, lastWord(a.task), a.clock.Now()); late != nil {
			return nil, late
		}
	}
	if operation := a.task.Spec.Operation; a.resumed && operation.Generic() && operation.HasEffect() {
		return nil, unknown("an earlier attempt may have reached %s, and no answer came", a.task.Status.Path)
	}
	recipient, err := recipientOf(a.task.Spec.Result)
	if err != nil {
		return nil, err
	}
	to, err := a.target(ctx)
	if err != nil {
		return nil, err
	}
	defer to.close()
	a.task.Status.Path = to.shown()
	if err := a.permitted(ctx, to); err != nil {
		return nil, err
	}
	out, err := a.operate(ctx, to)
	if err != nil {
		return nil, err
	}
	return out, a.hand(ctx, to, recipient, out)
}

func (a *attempt) operate(ctx context.Context, to *target) (*outcome, error) {
	switch a.task.Spec.Operation {
	case v1alpha1.OperationRead:
		return a.read(ctx, to)
	case v1alpha1.OperationList:
		return a.list(ctx, to)
	case v1alpha1.OperationReadMetadata:
		return a.readMetadata(ctx, to)
	case v1alpha1.OperationGenericRead, v1alpha1.OperationGenericList:
		return a.lookAt(ctx, to)
	case v1alpha1.OperationWrite, v1alpha1.OperationPatch:
		return a.write(ctx, to)
	case v1alpha1.OperationDelete, v1alpha1.OperationUndelete, v1alpha1.OperationDestroy:
		return a.changeVersions(ctx, to)
	case v1alpha1.OperationWriteMetadata, v1alpha1.OperationPatchMetadata:
		return a.changeMetadata(ctx, to)
	case v1alpha1.OperationDeleteMetadata:
		return a.deleteMetadata(ctx, to)
	case v1alpha1.OperationGenericWrite, v1alpha1.OperationGenericDelete:
		return a.actOn(ctx, to)
	}
	return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.operation: %q is unknown to this version of Sallyport", a.task.Spec.Operation)
}

// claim records that a call is about to be made. The update fails if anybody else touched the task since it was read live, so that no
// two attempts hold a claim: an attempt that takes up a run claims it anew before it sends anything.
func (a *attempt) claim(ctx context.Context, claim *v1alpha1.TaskClaim) error {
	if a.known == nil {
		a.known = &knowledge{made: true}
	}
	a.known.task = client.ObjectKeyFromObject(a.task)
	former := a.task.Status.Claim
	claim.ID = rand.Text()
	a.task.Status.Claim = claim
	a.task.Status.ObservedGeneration = a.task.Generation
	a.memory.note(claim, a.known)
	if a.storeErr = a.client.Status().Update(ctx, a.task); a.storeErr != nil {
		if apierrors.IsConflict(a.storeErr) { // else it may have been stored all the same
			a.memory.drop(claim)
		}
		return a.storeErr
	}
	a.memory.drop(former)
	a.before = a.task.DeepCopy()
	return nil
}

// sending notes that a call under the claim is about to leave.
func (a *attempt) sending(data map[string]any) {
	digest := a.memory.digest(data)
	a.known.mu.Lock()
	defer a.known.mu.Unlock()
	a.known.called = true
	a.known.digests = append(a.known.digests, digest)
}

// release gives a claim up when it is certain that nothing was done under it, so that the next attempt begins afresh.
func (a *attempt) release(err error) {
	claim := a.task.Status.Claim
	if claim == nil || a.resumed || fault.OutcomeUnknown(err) || a.task.Spec.Unwrap != nil {
		return
	}
	a.known.mu.Lock()
	a.known.called = false
	a.known.mu.Unlock()
	a.memory.drop(claim)
	a.task.Status.Claim = nil
}

// judge decides what an error means for the task: nil if it ends it, and else the fault to wait with. What the operation needs first
// (Vault, a login, a VaultConfig) is waited for; a definite answer of Vault to the operation itself, or an error in the task, is the end.
// An effect whose answer may have been lost ends only when that is settled.
func (a *attempt) judge(err error) *fault.Fault {
	if err == nil {
		return nil
	}
	f := fault.From(err)
	if a.final(err, f) {
		return nil
	}
	if f.Class == fault.ClassTerminal { // but an earlier attempt is not settled yet
		f = f.WithClass(fault.ClassWaiting)
	}
	if f.Class == fault.ClassTransient && a.task.Spec.BackoffLimit != nil {
		a.task.Status.Failures++
	}
	return f
}

func (a *attempt) final(err error, f *fault.Fault) bool {
	switch {
	case f.Reason == v1alpha1.ReasonCASMismatch, f.Reason == v1alpha1.ReasonOutcomeUnknown:
		return true
	case fault.OutcomeUnknown(err), a.resumed && a.task.Spec.Operation.HasEffect():
		return false
	case f.Class == fault.ClassTerminal:
		return true
	}
	switch f.Reason {
	case v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonInvalidRequest:
		return a.called
	}
	return false
}
