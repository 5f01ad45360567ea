package vaulttask

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
	"sallyport.dev/sallyport/internal/vault"
)

// begin starts a run: what an earlier run left is forgotten.
func begin(task *v1alpha1.VaultTask, claim *v1alpha1.TaskClaim, now time.Time) {
	task.Status.ObservedGeneration = task.Generation
	task.Status.StartTime = status.Time(now)
	task.Status.CompletionTime = nil
	task.Status.Result = nil
	task.Status.Claim = claim
	meta.RemoveStatusCondition(&task.Status.Conditions, v1alpha1.ConditionComplete)
	meta.RemoveStatusCondition(&task.Status.Conditions, v1alpha1.ConditionFailed)
	status.NotReady(&task.Status.Conditions, task.Generation, fault.New(v1alpha1.ReasonProgressing, "the operation is under way"))
}

func complete(task *v1alpha1.VaultTask, result *v1alpha1.TaskResult, now time.Time) {
	end(task, now)
	task.Status.Result = result
	message := fmt.Sprintf("read version %d of %s", result.Version, result.Path)
	if task.Spec.Operation == v1alpha1.OperationWrite {
		message = fmt.Sprintf("wrote version %d of %s", result.Version, result.Path)
	}
	status.True(&task.Status.Conditions, task.Generation, v1alpha1.ConditionComplete, v1alpha1.ReasonSucceeded, message)
	status.Ready(&task.Status.Conditions, task.Generation, message)
}

func fail(task *v1alpha1.VaultTask, f *fault.Fault, now time.Time) {
	if task.Status.Claim == nil || !answers(task) { // it failed before it was claimed; which run this was is recorded all the same
		begin(task, &v1alpha1.TaskClaim{Rerun: task.Annotations[v1alpha1.AnnotationRerun]}, now)
	}
	end(task, now)
	status.True(&task.Status.Conditions, task.Generation, v1alpha1.ConditionFailed, f.Reason, f.Sentence)
	status.NotReady(&task.Status.Conditions, task.Generation, &fault.Fault{Reason: f.Reason, Sentence: f.Sentence, Class: fault.Terminal})
}

func end(task *v1alpha1.VaultTask, now time.Time) {
	task.Status.ObservedGeneration = task.Generation
	task.Status.CompletionTime = status.Time(now)
}

// pending says what the task waits for.
func pending(task *v1alpha1.VaultTask, f *fault.Fault) {
	if !answers(task) { // another run is asked for: what stands there is an earlier one's
		meta.RemoveStatusCondition(&task.Status.Conditions, v1alpha1.ConditionComplete)
		meta.RemoveStatusCondition(&task.Status.Conditions, v1alpha1.ConditionFailed)
		task.Status.Result, task.Status.CompletionTime = nil, nil
	}
	task.Status.ObservedGeneration = task.Generation
	status.NotReady(&task.Status.Conditions, task.Generation, f)
}

// final tells whether an error ends the task. What the operation needs first (Vault, a login, a VaultConfig) is waited for; a
// definite answer of Vault to the operation itself, or an error in the task, is the end. A write whose answer may have been lost
// ends only when that is settled.
func final(run *run, err error) bool {
	f := fault.From(err)
	switch {
	case f.Reason == v1alpha1.ReasonCASMismatch, f.Reason == v1alpha1.ReasonOutcomeUnknown:
		return true
	case vault.OutcomeUnknown(err), run.resumed && run.task.Spec.Operation == v1alpha1.OperationWrite:
		return false
	case f.Class == fault.Terminal:
		return true
	}
	switch f.Reason {
	case v1alpha1.ReasonPermissionDenied, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonInvalidRequest:
		return run.called
	}
	return false
}

// store writes the status where it changed and tells of the end in an event.
func (r *Reconciler) store(ctx context.Context, before, task *v1alpha1.VaultTask) error {
	if equality.Semantic.DeepEqual(before.Status, task.Status) {
		return nil
	}
	if err := r.client.Status().Update(ctx, task); err != nil {
		return err
	}
	if task.Status.CompletionTime != nil && before.Status.CompletionTime == nil {
		ready := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady)
		kind := corev1.EventTypeNormal
		if ready.Status != metav1.ConditionTrue {
			kind = corev1.EventTypeWarning
		}
		r.recorder.Eventf(task, nil, kind, ready.Reason, string(task.Spec.Operation), "%s", status.Note(ready.Message))
	}
	return nil
}
