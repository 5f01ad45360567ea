package requeue

import (
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Refreshed lets an object be looked at when somebody asks for that with the annotation sallyport.dev/refresh.
var Refreshed = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.GetAnnotations(), e.ObjectNew.GetAnnotations()
	return before[v1alpha1.AnnotationRefresh] != after[v1alpha1.AnnotationRefresh]
}}
