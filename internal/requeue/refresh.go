package requeue

import (
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Refreshed lets an object be looked at when somebody asks for that with the annotation sallyport.dev/refresh.
var Refreshed = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return e.ObjectOld.GetAnnotations()[v1alpha1.AnnotationRefresh] != e.ObjectNew.GetAnnotations()[v1alpha1.AnnotationRefresh]
}}
