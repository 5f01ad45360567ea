package connection

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// otherNamespacesConfigs indexes Connections by the VaultConfigs of other namespaces that they refer to, as
// namespace/name.
const otherNamespacesConfigs = "vaultConfigsOfOtherNamespaces"

// configChanged lets a VaultConfig wake its Connections when its spec changes and when it becomes ready or stops being
// so, not at every renewal.
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

// labelsChanged lets a namespace wake its Connections when a VaultConfig elsewhere may begin or cease to admit it.
var labelsChanged = predicate.And(predicate.LabelChangedPredicate{}, predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
})

// firstMounted lets a Connection be looked at when somebody mounts it that nobody did before: from now on that happens
// more often.
var firstMounted = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool { return !mounted(e.ObjectOld) && mounted(e.ObjectNew) },
}

// mounted tells whether pods mount a Connection, as its status has it.
func mounted(object client.Object) bool {
	connection, ok := object.(*v1alpha1.Connection)
	return ok && connection.Status.Mounts != nil && ptr.Deref(connection.Status.Mounts.Volumes, 0) > 0
}

func ready(config *v1alpha1.VaultConfig) bool {
	return meta.IsStatusConditionTrue(config.Status.Conditions, v1alpha1.ConditionReady)
}

// Index adds the index that the reconciler finds Connections by. It must be called before the cache is started.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	return indexer.IndexField(ctx, &v1alpha1.Connection{}, otherNamespacesConfigs, configsOfOtherNamespaces)
}

// configsOfOtherNamespaces lists the VaultConfigs of other namespaces that a Connection refers to. Only vaultSecrets
// can: references in value name VaultConfigs of their own namespace.
func configsOfOtherNamespaces(object client.Object) []string {
	connection, ok := object.(*v1alpha1.Connection)
	if !ok {
		return nil
	}
	var keys []string
	for _, secret := range connection.Spec.VaultSecrets {
		if ref := secret.VaultConfigRef; ref.Namespace != "" && ref.Namespace != connection.Namespace {
			keys = append(keys, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}.String())
		}
	}
	return keys
}

// usersOf maps a VaultConfig to the Connections of its namespace, and to those elsewhere that refer to it. Which of its
// own namespace refer to it is not looked up: references stand in values too, and checking a Connection whose secrets
// did not change costs Vault nothing.
func (r *Reconciler) usersOf(ctx context.Context, config client.Object) []ctrl.Request {
	own := r.requests(ctx, client.InNamespace(config.GetNamespace()))
	name := client.ObjectKeyFromObject(config).String()
	return append(own, r.requests(ctx, client.MatchingFields{otherNamespacesConfigs: name})...)
}

// inNamespace maps a namespace to its Connections.
func (r *Reconciler) inNamespace(ctx context.Context, namespace client.Object) []ctrl.Request {
	return r.requests(ctx, client.InNamespace(namespace.GetName()))
}

func (r *Reconciler) requests(ctx context.Context, of client.ListOption) []ctrl.Request {
	list := &v1alpha1.ConnectionList{}
	if err := r.client.List(ctx, list, of, client.UnsafeDisableDeepCopy); err != nil { // only their names are looked at
		log.FromContext(ctx).Error(err, "listing the Connections that a change may concern")
		return nil
	}
	requests := make([]ctrl.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}
