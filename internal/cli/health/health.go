// Package health says what the conditions of Sallyport's objects mean, in the words that the health checks for Argo CD
// use (config/argocd). It is pure.
package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// State is how an object is.
type State string

// States, the sickest first.
const (
	// Degraded: somebody must cure something.
	Degraded State = "Degraded"
	// Missing: it does not exist.
	Missing State = "Missing"
	// Progressing: it may come right by itself.
	Progressing State = "Progressing"
	// Unknown: it could not be looked at.
	Unknown State = "Unknown"
	// Suspended: its owner switched it off.
	Suspended State = "Suspended"
	// Healthy: nothing is wrong.
	Healthy State = "Healthy"
)

// rank orders the states.
var rank = map[State]int{Degraded: 0, Missing: 1, Progressing: 2, Unknown: 3, Suspended: 4, Healthy: 5}

// Compare puts the sickest first.
func Compare(a, b State) int { return rank[a] - rank[b] }

// Health is the state of an object, with the reason and sentence of the condition that says so.
type Health struct {
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Unseen: Sallyport has not looked at the object as it is now.
	Unseen bool `json:"unseen,omitempty"`
}

// OfConnection says how a Connection is.
func OfConnection(c *v1alpha1.Connection) Health {
	return of(c.Generation, c.Status.ObservedGeneration, c.Status.Conditions)
}

// OfVaultConfig says how a VaultConfig is.
func OfVaultConfig(c *v1alpha1.VaultConfig) Health {
	return of(c.Generation, c.Status.ObservedGeneration, c.Status.Conditions)
}

// OfVaultTask says how a VaultTask is.
func OfVaultTask(t *v1alpha1.VaultTask) Health {
	found := of(t.Generation, t.Status.ObservedGeneration, t.Status.Conditions)
	if found.Unseen || found.State == Suspended {
		return found
	}
	if rerun := t.Annotations[v1alpha1.AnnotationRerun]; rerun != "" && rerun != t.Status.Rerun {
		return Health{State: Progressing, Message: "it is to run once more"}
	}
	if failed := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionFailed); isTrue(failed) {
		return with(Degraded, failed)
	}
	if complete := meta.FindStatusCondition(t.Status.Conditions, v1alpha1.ConditionComplete); isTrue(complete) {
		return with(Healthy, complete)
	}
	return found
}

// Condition returns a condition that is not as it should be, or nil.
func Condition(conditions []metav1.Condition, kind string, should metav1.ConditionStatus) *metav1.Condition {
	if found := meta.FindStatusCondition(conditions, kind); found != nil && found.Status != should {
		return found
	}
	return nil
}

func of(generation, observed int64, conditions []metav1.Condition) Health {
	if observed != generation {
		return Health{State: Progressing, Message: "Sallyport has not looked at it yet, as it is now", Unseen: true}
	}
	for _, is := range []struct {
		condition string
		state     State
	}{
		{v1alpha1.ConditionSuspended, Suspended},
		{v1alpha1.ConditionStalled, Degraded},
		{v1alpha1.ConditionReconciling, Progressing},
		{v1alpha1.ConditionReady, Healthy},
	} {
		if found := meta.FindStatusCondition(conditions, is.condition); isTrue(found) {
			return with(is.state, found)
		}
	}
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil {
		return with(Progressing, ready)
	}
	return Health{State: Progressing, Message: "Sallyport has not looked at it yet", Unseen: true}
}

func isTrue(c *metav1.Condition) bool { return c != nil && c.Status == metav1.ConditionTrue }

func with(state State, c *metav1.Condition) Health {
	return Health{State: state, Reason: c.Reason, Message: c.Message}
}

// Count is a number of things, in words.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
