package vaulttask

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/status"
)

// action is what is due for a task.
type action int

const (
	// rest: nothing, or nothing yet.
	rest action = iota
	// run: a run, or to go on with one.
	run
	// keepSuspended: the task is suspended.
	keepSuspended
	// waitForSchedule: the next time of the schedule.
	waitForSchedule
	// refuse: the schedule is none.
	refuse
	// remove: the task is to be deleted.
	remove
)

// decision is an action and what belongs to it.
type decision struct {
	action action
	// after is when to decide anew; zero: when the object changes.
	after time.Duration
	// scheduledTime is the time of the schedule that a run is for.
	scheduledTime time.Time
	// next is the next time of the schedule.
	next time.Time
	// problem with the schedule.
	problem *fault.Fault
}

// due decides what to do with a task.
func due(task *v1alpha1.VaultTask, now time.Time) decision {
	s := &task.Status
	if s.Claim != nil && s.CompletionTime == nil { // whatever else is asked for comes after what has begun
		return decision{action: run}
	}
	if isTrue(task.Spec.Suspend) && (task.Spec.Schedule != nil || !finished(task)) {
		return decision{action: keepSuspended}
	}
	if task.Spec.Schedule != nil {
		return dueBySchedule(task, now)
	}
	if !finished(task) {
		return decision{action: run}
	}
	if ttl := task.Spec.TTLSecondsAfterFinished; ttl != nil && recreatedBy(task) == "" {
		left := s.CompletionTime.Add(time.Duration(*ttl) * time.Second).Sub(now)
		if left <= 0 {
			return decision{action: remove}
		}
		return decision{action: rest, after: left}
	}
	return decision{action: rest}
}

func dueBySchedule(task *v1alpha1.VaultTask, now time.Time) decision {
	s := &task.Status
	times, problem := parseSchedule(task.Spec.Schedule, now)
	if problem != nil {
		return decision{action: refuse, problem: problem}
	}
	if s.StartTime != nil && s.CompletionTime == nil || s.Rerun != task.Annotations[v1alpha1.AnnotationRerun] {
		return decision{action: run}
	}
	since := task.CreationTimestamp.Time
	if s.LastScheduleTime != nil {
		since = s.LastScheduleTime.Time
	}
	scheduledTime, next := times.between(since, now)
	if late := task.Spec.Schedule.StartingDeadlineSeconds; late != nil &&
		now.Sub(scheduledTime) > time.Duration(*late)*time.Second {
		scheduledTime = time.Time{}
	}
	if !scheduledTime.IsZero() {
		return decision{action: run, scheduledTime: scheduledTime}
	}
	action := waitForSchedule
	if s.NextScheduleTime != nil && s.NextScheduleTime.Time.Equal(next) && s.ObservedGeneration == task.Generation {
		action = rest
	}
	return decision{action: action, next: next, after: next.Sub(now)}
}

// finished tells whether the run that the annotation asks for has ended.
func finished(task *v1alpha1.VaultTask) bool {
	return task.Status.CompletionTime != nil && task.Status.Rerun == task.Annotations[v1alpha1.AnnotationRerun]
}

// recreatedBy names the tool that would create a deleted task anew from what it holds, so that the task would run once
// more at every sync; empty for none. Hooks are no part of what such a tool keeps. Sources: the annotations and labels
// that Argo CD (annotation tracking), Flux and Helm put on what they apply.
func recreatedBy(task *v1alpha1.VaultTask) string {
	for _, hook := range []string{"argocd.argoproj.io/hook", "helm.sh/hook"} {
		if task.Annotations[hook] != "" {
			return ""
		}
	}
	switch {
	case task.Annotations["argocd.argoproj.io/tracking-id"] != "":
		return "Argo CD"
	case task.Labels["kustomize.toolkit.fluxcd.io/name"] != "", task.Labels["helm.toolkit.fluxcd.io/name"] != "":
		return "Flux"
	case task.Annotations["meta.helm.sh/release-name"] != "":
		return "Helm"
	}
	return ""
}

// fresh tells whether a run that is due begins now, and does not go on.
func fresh(task *v1alpha1.VaultTask) bool {
	s := &task.Status
	claimed := s.Claim != nil && s.CompletionTime == nil
	return !claimed && (s.StartTime == nil || s.CompletionTime != nil ||
		s.Rerun != task.Annotations[v1alpha1.AnnotationRerun])
}

// untouched tells whether nothing was ever done for a task that is to change something in Vault.
func untouched(task *v1alpha1.VaultTask) bool {
	s := &task.Status
	return task.Spec.Operation.HasEffect() && s.ObservedGeneration <= 0 && s.StartTime == nil &&
		s.CompletionTime == nil && s.Claim == nil
}

// describe puts into status what a task that does not run now waits for.
func (d decision) describe(task *v1alpha1.VaultTask) {
	s := &task.Status
	s.ObservedGeneration = task.Generation
	switch d.action {
	case keepSuspended:
		if s.CompletionTime == nil {
			s.StartTime, s.Failures = nil, 0 // the deadline counts from when it goes on
		}
		s.NextScheduleTime = nil
		status.Off(&s.Conditions, task.Generation, fault.Waiting(v1alpha1.ReasonSuspended, "suspend is true: nothing runs until it is removed"))
	case refuse:
		s.NextScheduleTime = nil
		status.NotReady(&s.Conditions, task.Generation, d.problem)
	case waitForSchedule:
		s.NextScheduleTime = &metav1.Time{Time: d.next}
		scheduled(task, d.next)
	case rest, run, remove:
	}
}

// overdue returns a fault if a run has used up its time or its attempts.
func overdue(task *v1alpha1.VaultTask, claimed bool, last *fault.Fault, now time.Time) error {
	s := &task.Status
	var reason, sentence string
	if limit := task.Spec.ActiveDeadlineSeconds; limit != nil &&
		!now.Before(s.StartTime.Add(time.Duration(*limit)*time.Second)) {
		reason, sentence = v1alpha1.ReasonDeadlineExceeded, fmt.Sprintf("it was not done within the %d seconds of activeDeadlineSeconds", *limit)
	}
	if limit := task.Spec.BackoffLimit; limit != nil && s.Failures > *limit {
		reason, sentence = v1alpha1.ReasonBackoffLimitExceeded, fmt.Sprintf("it was tried %d times, and backoffLimit allows no more", s.Failures)
	}
	switch {
	case reason == "":
		return nil
	case claimed && task.Spec.Operation.HasEffect():
		return unknown("%s, and whether an earlier attempt had its effect is not known", sentence)
	}
	return fault.Terminal(reason, "%s; last: %s, %s", sentence, last.Reason, last.Message())
}

// unknown is the end of a task whose effect may or may not have happened.
func unknown(format string, args ...any) *fault.Fault {
	return fault.Terminal(v1alpha1.ReasonOutcomeUnknown, format, args...).
		WithRemedy("look at what is in Vault, then set the annotation %s to run the task again", v1alpha1.AnnotationRerun)
}
