package vaulttask

import (
	"context"
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/controllers/vaulttask/claims"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/tracing"
)

// attempt is one attempt at a run of a task. A run takes several if Vault, or something that the task needs, is not
// there at first.
type attempt struct {
	*Reconciler
	task *v1alpha1.VaultTask
	// before is the task as it was read.
	before *v1alpha1.VaultTask
	// state is what this process knows of the claim; nil without one.
	state *claims.State[outcome]
	// resumed is true when an earlier attempt claimed the run and may have called Vault.
	resumed bool
	// called is true once the operation itself was begun; a definite refusal after that ends the task.
	called bool
	// claimErr is set when the claim could not be stored; nothing was sent then.
	claimErr error
	// held is what to call when the data that it writes is forgotten.
	held []func()
}

// forgetData gives back what the attempt had of the memory.
func (a *attempt) forgetData() {
	for _, leave := range a.held {
		leave()
	}
}

// outcome is what a run brought about.
type outcome struct {
	result  *v1alpha1.TaskResult
	message string
	// values that were read, written or answered; they leave it sealed or wrapped, or not at all.
	values map[string]any
	// leased: they came with a lease, which ends with the token.
	leased bool
}

// String shows nothing of the values.
func (o *outcome) String() string {
	return fmt.Sprintf("outcome of %s [values redacted]", o.result.Path)
}

// execute finds the Vault to use, runs the operation there and hands its result out.
func (a *attempt) execute(ctx context.Context) (_ *outcome, err error) {
	ctx, span := tracing.Start(ctx, tracing.Internal, "run", fault.KindVaultTask)
	span.About(fault.Subject{Kind: fault.KindVaultTask, Namespace: a.task.Namespace, Name: a.task.Name})
	defer func() { span.End(err) }()
	if err := a.mayBegin(); err != nil {
		return nil, err
	}
	recipient, err := recipientOf(a.task.Spec.Result)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	to, err := a.permitted(ctx)
	if err != nil {
		return nil, err
	}
	defer to.close()
	if to.connection != nil { // from here on the Connection is in use
		a.task.Status.Connection = to.connection
	}
	out, err := a.operate(ctx, to)
	if err != nil {
		return nil, err
	}
	return out, a.exportResult(ctx, to, recipient, out)
}

// permitted finds the Vault to use, logged in, and checks that the task may do there what it wants. Nothing has been
// done until then, so that it takes no longer than any look.
func (a *attempt) permitted(ctx context.Context) (*target, error) {
	ctx, cancel := context.WithTimeout(ctx, requeue.LookTime)
	defer cancel()
	access := &access{Reconciler: a.Reconciler, task: a.task}
	to, err := access.target(ctx)
	if err != nil {
		return nil, err
	}
	a.task.Status.Path = to.shown()
	if err := access.check(ctx, to); err != nil {
		to.close()
		return nil, err
	}
	return to, nil
}

// mayBegin refuses what is over before it begins: a run whose time or retries are used up, and one that must not be
// repeated.
func (a *attempt) mayBegin() error {
	if !a.resumed {
		return overdue(a.task, false, lastCondition(a.task), a.clock.Now())
	}
	if operation := a.task.Spec.Operation; operation.Generic() && operation.HasEffect() {
		return unknown("an earlier attempt may have reached %s, and no answer came", a.task.Status.Path)
	}
	return nil
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
		return a.genericRead(ctx, to)
	case v1alpha1.OperationWrite, v1alpha1.OperationPatch:
		return a.write(ctx, to)
	case v1alpha1.OperationDelete, v1alpha1.OperationUndelete, v1alpha1.OperationDestroy:
		return a.changeVersions(ctx, to)
	case v1alpha1.OperationWriteMetadata, v1alpha1.OperationPatchMetadata:
		return a.changeMetadata(ctx, to)
	case v1alpha1.OperationDeleteMetadata:
		return a.deleteMetadata(ctx, to)
	case v1alpha1.OperationGenericWrite, v1alpha1.OperationGenericDelete:
		return a.genericWrite(ctx, to)
	}
	return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "spec.operation: %q is unknown to this version of Sallyport", a.task.Spec.Operation)
}

// subject is the task, as faults name it.
func (a *attempt) subject() fault.Subject {
	return fault.Subject{Kind: fault.KindVaultTask, Namespace: a.task.Namespace, Name: a.task.Name}
}

// classify decides what an error means for the task: nil if it ends it, and else the fault to wait with. What the
// operation needs first (Vault, a login, a VaultConfig) is waited for; a definite answer of Vault to the operation
// itself, or an error in the task, is the end. What is wrong with another object is waited for, too: it can be edited,
// and the task then goes on. An effect whose answer may have been lost ends only when it is known what became of it.
func (a *attempt) classify(err error) *fault.Fault {
	if err == nil {
		return nil
	}
	f := fault.From(err).For(a.subject())
	if a.ends(f) {
		return nil
	}
	if f.Class == fault.ClassTerminal { // but what an earlier attempt did is not known yet
		f = f.WithClass(fault.ClassWaiting)
	}
	if f.Class == fault.ClassTransient && a.task.Spec.BackoffLimit != nil {
		a.task.Status.Failures++
	}
	return f
}

// givenUp returns a fault if a run that is not at its end has used up its time or its retries. What has only just begun
// has one more attempt to find out what became of it.
func (a *attempt) givenUp(f *fault.Fault) error {
	if f.OutcomeUnknown && !a.resumed {
		return nil
	}
	return overdue(a.task, a.resumed, f, a.clock.Now())
}

// ends tells whether a fault is the end of the run.
func (a *attempt) ends(f *fault.Fault) bool {
	switch {
	case f.Conclusive():
		return true
	case f.OutcomeUnknown, a.resumed && a.task.Spec.Operation.HasEffect():
		return false
	}
	return f.Class == fault.ClassTerminal || a.called && f.Refusal()
}
