package migrate

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// listed are the kinds that a cluster is asked for, those of the namespaces. What they refer to is got when it is
// needed.
var listed = []schema.GroupKind{
	{Group: groupCSI, Kind: "SecretProviderClass"},
	{Group: groupESO, Kind: kindStore},
	{Group: groupESO, Kind: "ExternalSecret"},
	{Group: groupVSO, Kind: "VaultStaticSecret"},
	{Group: groupVSO, Kind: "VaultDynamicSecret"},
	{Group: groupVSO, Kind: "VaultPKISecret"},
	{Group: "apps", Kind: "Deployment"},
	{Group: "apps", Kind: "StatefulSet"},
	{Group: "apps", Kind: "DaemonSet"},
	{Group: "apps", Kind: "ReplicaSet"},
	{Kind: "ReplicationController"},
	{Group: "batch", Kind: kindJob},
	{Group: "batch", Kind: "CronJob"},
	{Kind: kindPod},
	rolloutOfArgo,
	{Group: "networking.k8s.io", Kind: "Ingress"},
}

// rare are those of them that whoever may see all others may not be allowed to see. What is not read is reported.
var rare = []schema.GroupKind{{Kind: "ReplicationController"}, rolloutOfArgo}

// everywhere are kinds that are looked for in all namespaces, if one may: where the default ones are, only the
// operator's installation knows.
var everywhere = []schema.GroupKind{
	{Group: groupVSO, Kind: kindAuth},
	{Group: groupVSO, Kind: kindAuthGlobal},
	{Group: groupVSO, Kind: kindConnection},
}

// FromCluster reads what a namespace has, or all of them if it is empty. Values of Secrets are never read.
func FromCluster(ctx context.Context, c client.Client, namespace string) (*Inventory, error) {
	in := &Inventory{}
	in.get = func(ctx context.Context, kind schema.GroupKind, of key) (*unstructured.Unstructured, error) {
		mapping, err := c.RESTMapper().RESTMapping(kind)
		if meta.IsNoMatchError(err) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		object.SetGroupVersionKind(mapping.GroupVersionKind)
		err = c.Get(ctx, client.ObjectKey{Namespace: of.namespace, Name: of.name}, object)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return object, err
	}
	in.secretKeys = func(ctx context.Context, of key) ([]string, error) { return ownedKeys(ctx, c, of) }
	for _, kind := range everywhere {
		if err := in.list(ctx, c, kind, ""); err != nil && !apierrors.IsForbidden(err) {
			return nil, err
		}
	}
	for _, kind := range listed {
		err := in.list(ctx, c, kind, namespace)
		if slices.Contains(rare, kind) && apierrors.IsForbidden(err) {
			in.unread = append(in.unread, kind.Kind)
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return in, nil
}

// list adds the objects of a kind, if the cluster knows it. What a controller made of another object is left out, or,
// if that is of a kind that is not listed, kept apart.
func (in *Inventory) list(ctx context.Context, c client.Client, kind schema.GroupKind, namespace string) error {
	mapping, err := c.RESTMapper().RESTMapping(kind)
	if meta.IsNoMatchError(err) {
		return nil
	} else if err != nil {
		return err
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind)
	if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		object := &list.Items[i]
		owner := metav1.GetControllerOf(object)
		switch {
		case owner == nil:
			strip(object)
			in.objects = append(in.objects, object)
		case !slices.Contains(listed, schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()):
			in.owned = append(in.owned, object)
		}
	}
	return nil
}

// strip removes what the API server and controllers write, so that the object can be applied.
func strip(object *unstructured.Unstructured) {
	delete(object.Object, "status")
	if of, is := object.Object["metadata"].(map[string]any); is {
		for _, name := range []string{
			"managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink",
		} {
			delete(of, name)
		}
	}
	annotations := object.GetAnnotations()
	delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	delete(annotations, "deployment.kubernetes.io/revision")
	delete(annotations, "deprecated.daemonset.template.generation")
	if len(annotations) == 0 {
		annotations = nil
	}
	object.SetAnnotations(annotations)
	if w := openWorkload(object); w != nil {
		delete(inside(w.template, "metadata"), "creationTimestamp")
		w.unbind()
	}
}

// generated are the labels by which a Job finds its pods.
var generated = []string{
	"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
}

// unbind removes what binds a Pod to its node and a Job to its pods: neither could be made anew with it.
func (w *Workload) unbind() {
	switch w.kind {
	case kindPod:
		delete(w.spec(), "nodeName")
	case kindJob:
		if manual, _, _ := unstructured.NestedBool(w.Object.Object, "spec", "manualSelector"); manual {
			return
		}
		unstructured.RemoveNestedField(w.Object.Object, "spec", "selector")
		for _, of := range []map[string]any{w.Object.Object, w.template} {
			meta := inside(of, "metadata")
			labels, _ := meta["labels"].(map[string]any)
			for _, name := range generated {
				delete(labels, name)
			}
			if len(labels) == 0 {
				delete(meta, "labels")
			}
		}
	}
}

// ownedKeys returns the keys of a Secret as its managed fields tell them, which are metadata: the values stay where
// they are. Nil if the Secret does not exist or may not be read.
func ownedKeys(ctx context.Context, c client.Client, of key) ([]string, error) {
	secret := &metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
	err := c.Get(ctx, client.ObjectKey{Namespace: of.namespace, Name: of.name}, secret)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for _, entry := range secret.ManagedFields {
		var owned struct {
			Data map[string]any `json:"f:data"`
		}
		if entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		for name := range owned.Data {
			if key, is := strings.CutPrefix(name, "f:"); is {
				keys[key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(keys)), nil
}
