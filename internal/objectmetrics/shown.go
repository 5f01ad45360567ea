package objectmetrics

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// States of objects, as their numbers are told.
const (
	stateReady     = "ready"
	stateNotReady  = "not_ready"
	stateSuspended = "suspended"
	// stateUnknown: the controllers have not looked at it yet.
	stateUnknown = "unknown"
)

func (s state) summary() string {
	if meta.IsStatusConditionTrue(s.conditions, v1alpha1.ConditionSuspended) {
		return stateSuspended
	}
	switch ready := meta.FindStatusCondition(s.conditions, v1alpha1.ConditionReady); {
	case ready == nil || ready.Status == metav1.ConditionUnknown:
		return stateUnknown
	case ready.Status == metav1.ConditionTrue:
		return stateReady
	}
	return stateNotReady
}

// order puts what somebody has to know first.
func (s state) order() int {
	return slices.Index([]string{stateNotReady, stateUnknown, stateReady, stateSuspended}, s.summary())
}

// shown returns the objects that have series of their own. Where there are too many, namespaces with few have all of
// theirs, and the others as many as each other, the sick ones first.
func shown(states []state) []state {
	byNamespace := map[string][]state{}
	for _, s := range states {
		byNamespace[s.namespace] = append(byNamespace[s.namespace], s)
	}
	namespaces := make([][]state, 0, len(byNamespace))
	for _, of := range byNamespace {
		slices.SortFunc(of, func(a, b state) int {
			return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.name, b.name))
		})
		namespaces = append(namespaces, of)
	}
	slices.SortFunc(namespaces, func(a, b []state) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a[0].namespace, b[0].namespace))
	})
	var all []state
	for i, of := range namespaces {
		share := (maxObjects - len(all)) / (len(namespaces) - i)
		all = append(all, of[:min(len(of), share, maxObjectsOfNamespace)]...)
	}
	return all
}
