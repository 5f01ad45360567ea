package status

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxNote is the API's limit on the note of an event (events.k8s.io/v1) in bytes; a longer one is rejected and lost.
const maxNote = 1024

// maxMessage bounds the message of a condition in bytes, well below the API's limit of 32768.
const maxMessage = 2048

// True sets a condition to True.
func True(conditions *[]metav1.Condition, generation int64, conditionType, reason, message string) {
	set(conditions, generation, conditionType, metav1.ConditionTrue, reason, message)
}

// False sets a condition to False with the reason and sentence of a fault.
func False(conditions *[]metav1.Condition, generation int64, conditionType string, f *fault.Fault) {
	set(conditions, generation, conditionType, metav1.ConditionFalse, f.Reason, f.Message())
}

// Unknown sets a condition to Unknown, when what it speaks of could not be looked at.
func Unknown(conditions *[]metav1.Condition, generation int64, conditionType string, f *fault.Fault) {
	set(conditions, generation, conditionType, metav1.ConditionUnknown, f.Reason, f.Message())
}

// Ready sets Ready to True and removes Reconciling, Stalled and Suspended.
func Ready(conditions *[]metav1.Condition, generation int64, message string) {
	True(conditions, generation, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded, message)
	remove(conditions, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionSuspended)
}

// NotReady sets Ready to False, Reconciling for a fault that may pass by itself, and Stalled for one that somebody must
// cure, whether in the object or elsewhere. Which of the two is decided by the fault alone, never by how long it has
// lasted, so that whoever waits for the object is told at once. The fault's class must be the one that the object sees;
// see fault.For.
func NotReady(conditions *[]metav1.Condition, generation int64, f *fault.Fault) {
	False(conditions, generation, v1alpha1.ConditionReady, f)
	present, absent := v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled
	if !f.PassesByItself() {
		present, absent = absent, present
	}
	set(conditions, generation, present, metav1.ConditionTrue, f.Reason, f.Message())
	remove(conditions, absent, v1alpha1.ConditionSuspended)
}

// Off sets Suspended for an object that its owner switched off, and leaves it no other condition of the four: it is as
// its owner wants it, which kstatus, hence helm --wait and Flux, take for current only where there is no Ready that is
// not True; and Ready is not True of what cannot be used.
func Off(conditions *[]metav1.Condition, generation int64, f *fault.Fault) {
	True(conditions, generation, v1alpha1.ConditionSuspended, f.Reason, f.Message())
	remove(conditions, v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled)
}

func remove(conditions *[]metav1.Condition, types ...string) {
	for _, t := range types {
		meta.RemoveStatusCondition(conditions, t)
	}
}

// Changed tells whether a condition's status or reason differs between two lists: a transition, which is when an event
// is due.
func Changed(before, after []metav1.Condition, conditionType string) bool {
	b, a := meta.FindStatusCondition(before, conditionType), meta.FindStatusCondition(after, conditionType)
	if b == nil || a == nil {
		return b != a
	}
	return b.Status != a.Status || b.Reason != a.Reason
}

func set(
	conditions *[]metav1.Condition, generation int64, conditionType string, value metav1.ConditionStatus,
	reason, message string,
) {
	message = shorten(message, maxMessage)
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: conditionType, Status: value, Reason: reason, Message: message, ObservedGeneration: generation,
	})
}

// Time returns a moment as status holds it, nil for the zero time. It is cut to seconds, as the API stores times:
// anything finer would look like a change.
func Time(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t.Truncate(time.Second)}
}

// Note returns a message as the note of an event, shortened where the API would not take it.
func Note(message string) string { return shorten(message, maxNote) }

func shorten(message string, limit int) string {
	if len(message) <= limit {
		return message
	}
	return strings.ToValidUTF8(message[:limit-3], "") + "..."
}
