package vaultconfig

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/status"
)

// event is an event about a transition; its reason and note are those of the condition.
type event struct{ kind, reason, action, note string }

// transition returns the event that is due when a condition changed. A token that starts its life being renewed is no
// news.
func transition(before, after []metav1.Condition, conditionType string) (event, bool) {
	now := meta.FindStatusCondition(after, conditionType)
	if now == nil || !status.Changed(before, after, conditionType) {
		return event{}, false
	}
	e := event{kind: corev1.EventTypeWarning, reason: now.Reason, action: "Check", note: now.Message}
	if conditionType == v1alpha1.ConditionRenewing {
		if now.Status != metav1.ConditionFalse {
			return event{}, false
		}
		e.action = "Renew"
	}
	if conditionType == v1alpha1.ConditionCredentialLimited {
		return e, true // it is there only while it is true
	}
	if now.Status == metav1.ConditionTrue {
		e.kind = corev1.EventTypeNormal
	}
	return e, true
}
