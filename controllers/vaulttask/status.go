package vaulttask

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
)

// How many runs of a schedule status.history keeps if the task does not say, as for a CronJob.
const (
	defaultSuccessfulHistory = 3
	defaultFailedHistory     = 1
)

// begin starts a run: what an earlier run left is forgotten.
func begin(task *v1alpha1.VaultTask, scheduledTime, now time.Time) {
	s := &task.Status
	s.ObservedGeneration = task.Generation
	if s.Rerun != task.Annotations[v1alpha1.AnnotationRerun] {
		s.Connection = nil // whoever asked for this run knows it as it is
	}
	s.Rerun = task.Annotations[v1alpha1.AnnotationRerun]
	s.StartTime = status.Time(now)
	s.CompletionTime, s.Result, s.Claim, s.Failures = nil, nil, nil, 0
	if !scheduledTime.IsZero() {
		s.LastScheduleTime = status.Time(scheduledTime)
	}
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionComplete)
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionFailed)
	status.NotReady(&s.Conditions, task.Generation,
		fault.Transient(v1alpha1.ReasonProgressing, "the operation is under way"))
}

func complete(task *v1alpha1.VaultTask, out *outcome, now time.Time) {
	meta.RemoveStatusCondition(&task.Status.Conditions, v1alpha1.ConditionFailed)
	task.Status.Result = out.result
	end(task, v1alpha1.ReasonSucceeded, now)
	message := out.message
	if tool := recreatedBy(task); tool != "" && task.Spec.TTLSecondsAfterFinished != nil {
		message += fmt.Sprintf("; it stays in spite of ttlSecondsAfterFinished, for %s would create it anew and it would run"+
			" again: remove the field, or make the task a hook", tool)
	}
	status.True(&task.Status.Conditions, task.Generation, v1alpha1.ConditionComplete, v1alpha1.ReasonSucceeded, message)
	status.Ready(&task.Status.Conditions, task.Generation, message)
}

func fail(task *v1alpha1.VaultTask, f *fault.Fault, now time.Time) {
	end(task, f.Reason, now)
	status.True(&task.Status.Conditions, task.Generation, v1alpha1.ConditionFailed, f.Reason, f.Message())
	status.NotReady(&task.Status.Conditions, task.Generation, f.WithClass(fault.ClassTerminal))
}

// end marks the end of a run, and enters it into the history of a schedule.
func end(task *v1alpha1.VaultTask, reason string, now time.Time) {
	s := &task.Status
	s.ObservedGeneration = task.Generation
	s.CompletionTime = status.Time(now)
	s.NextScheduleTime = nil
	spec := task.Spec.Schedule
	if spec == nil {
		s.History = nil
		return
	}
	if times, problem := parseSchedule(spec, now); problem == nil {
		s.NextScheduleTime = status.Time(times.after(now))
	}
	latest := v1alpha1.TaskRun{StartTime: s.StartTime, CompletionTime: s.CompletionTime, Reason: reason}
	if s.Result != nil {
		latest.Version = s.Result.Version
	}
	s.History = trim(append([]v1alpha1.TaskRun{latest}, s.History...),
		ptr.Deref(spec.SuccessfulHistoryLimit, defaultSuccessfulHistory),
		ptr.Deref(spec.FailedHistoryLimit, defaultFailedHistory))
}

// trim keeps the latest runs of either kind.
func trim(runs []v1alpha1.TaskRun, successful, failed int32) []v1alpha1.TaskRun {
	var kept []v1alpha1.TaskRun
	for _, run := range runs {
		left := &failed
		if run.Reason == v1alpha1.ReasonSucceeded {
			left = &successful
		}
		if *left > 0 {
			*left--
			kept = append(kept, run)
		}
	}
	return kept
}

// pending says what the run waits for.
func pending(task *v1alpha1.VaultTask, f *fault.Fault) {
	task.Status.ObservedGeneration = task.Generation
	task.Status.Rerun = task.Annotations[v1alpha1.AnnotationRerun]
	status.NotReady(&task.Status.Conditions, task.Generation, f)
}

// scheduled says when the next run is due: nothing is wrong, and nothing is being worked on.
// How the last run ended stays visible.
func scheduled(task *v1alpha1.VaultTask, next time.Time) {
	conditions := &task.Status.Conditions
	if last := meta.FindStatusCondition(*conditions, v1alpha1.ConditionFailed); last != nil {
		status.NotReady(conditions, task.Generation, fault.Terminal(last.Reason, "%s", last.Message))
		return
	}
	if last := meta.FindStatusCondition(*conditions, v1alpha1.ConditionComplete); last != nil {
		status.Ready(conditions, task.Generation, last.Message)
		return
	}
	message := "the next run is due at " + next.Format(time.RFC3339)
	status.Ready(conditions, task.Generation, message)
	status.True(conditions, task.Generation, v1alpha1.ConditionReady, v1alpha1.ReasonScheduled, message)
}

// unseen tells whether a finished task was edited since its status was written: its suspension, its limits.
func unseen(task *v1alpha1.VaultTask) bool { return task.Status.ObservedGeneration != task.Generation }

// see says in the status of a finished task that an edit of it was seen, for whoever waits by that.
func (r *Reconciler) see(ctx context.Context, task *v1alpha1.VaultTask) error {
	before := task.DeepCopy()
	task.Status.ObservedGeneration = task.Generation
	for i := range task.Status.Conditions {
		task.Status.Conditions[i].ObservedGeneration = task.Generation
	}
	return client.IgnoreNotFound(r.store(ctx, before, task))
}

// lastCondition is what the task waited for until now.
func lastCondition(task *v1alpha1.VaultTask) *fault.Fault {
	ready := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return fault.Transient(v1alpha1.ReasonProgressing, "nothing was tried yet")
	}
	return fault.Transient(ready.Reason, "%s", ready.Message)
}

// store writes the status where it changed and tells of the end of a run in an event. An event is one more write, so
// there is none about a success that stays in status anyway: of a task that has no schedule and is not removed by
// itself.
func (r *Reconciler) store(ctx context.Context, before, task *v1alpha1.VaultTask) error {
	if equality.Semantic.DeepEqual(before.Status, task.Status) {
		return nil
	}
	if err := r.client.Status().Update(ctx, task); err != nil {
		return err
	}
	if task.Status.CompletionTime == nil || before.Status.CompletionTime != nil &&
		(before.Status.Result != nil || task.Status.Result == nil) {
		return nil
	}
	ready, kind := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady), corev1.EventTypeNormal
	if ready.Status != metav1.ConditionTrue {
		kind = corev1.EventTypeWarning
	}
	if kind == corev1.EventTypeWarning || task.Spec.Schedule != nil || task.Spec.TTLSecondsAfterFinished != nil {
		r.recorder.Eventf(task, nil, kind, ready.Reason, string(task.Spec.Operation), "%s", status.Note(ready.Message))
	}
	return nil
}
