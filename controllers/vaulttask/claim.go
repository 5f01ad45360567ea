package vaulttask

import (
	"context"
	"crypto/rand"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// claim records that a call is about to be made. The update fails if anybody else touched the task since it was read
// live, so that no two attempts hold a claim: an attempt that takes up a run claims it anew before it sends anything.
func (a *attempt) claim(ctx context.Context, claim *v1alpha1.TaskClaim) error {
	if a.state == nil {
		a.state = a.claims.New(client.ObjectKeyFromObject(a.task))
	}
	former := a.task.Status.Claim
	claim.ID = rand.Text()
	a.task.Status.Claim = claim
	a.task.Status.ObservedGeneration = a.task.Generation
	a.claims.Put(claim, a.state)
	if a.claimErr = a.client.Status().Update(ctx, a.task); a.claimErr != nil {
		if apierrors.IsConflict(a.claimErr) { // else it may have been stored all the same
			a.claims.Drop(claim)
		}
		return a.claimErr
	}
	a.claims.Drop(former)
	a.before = a.task.DeepCopy()
	return nil
}

// releaseClaim gives a claim up when it is certain that nothing was done under it, so that the next attempt begins
// afresh.
func (a *attempt) releaseClaim(err error) {
	claim := a.task.Status.Claim
	if claim == nil || a.resumed || fault.OutcomeUnknown(err) || a.task.Spec.Unwrap != nil {
		return
	}
	a.state.NotCalled()
	a.claims.Drop(claim)
	a.task.Status.Claim = nil
}

// unstored returns what came of a task's claim, if that is known here and not what the status says.
func (r *Reconciler) unstored(task *v1alpha1.VaultTask) *outcome {
	if task.Status.CompletionTime != nil && task.Status.Result != nil {
		return nil
	}
	return r.claims.Outcome(task.Status.Claim)
}
