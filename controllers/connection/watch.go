package connection

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// configChanged lets a VaultConfig wake its Connections when its spec changes and when it becomes ready or stops being so, not
// at every renewal.
var configChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*v1alpha1.VaultConfig)
		if !ok {
			return false
		}
		after, ok := e.ObjectNew.(*v1alpha1.VaultConfig)
		if !ok {
			return false
		}
		return before.Generation != after.Generation || ready(before) != ready(after)
	},
}

func ready(config *v1alpha1.VaultConfig) bool {
	return meta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionReady)
}

// usersOf maps a VaultConfig to the Connections of its namespace. Which of them refer to it is not looked up: references stand in
// values too, and checking a Connection whose secrets did not change costs Vault nothing.
func (r *Reconciler) usersOf(ctx context.Context, config client.Object) []ctrl.Request {
	list := &v1alpha1.ConnectionList{}
	if err := r.client.List(ctx, list, client.InNamespace(config.GetNamespace())); err != nil {
		log.FromContext(ctx).Error(err, "listing the Connections that a VaultConfig may concern")
		return nil
	}
	requests := make([]ctrl.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = types.NamespacedName{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
	}
	return requests
}
