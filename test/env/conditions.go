package env

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Conditions returns the conditions of an object of Sallyport's; none for any other.
func Conditions(object client.Object) []metav1.Condition {
	switch o := object.(type) {
	case *v1alpha1.VaultConfig:
		return o.Status.Conditions
	case *v1alpha1.Connection:
		return o.Status.Conditions
	case *v1alpha1.VaultTask:
		return o.Status.Conditions
	}
	return nil
}
