package abridged

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

const (
	// maxWhole is how large an object may be, without its status, to be kept whole: several times what most are, so that a
	// namespace needs thousands of objects to be felt.
	maxWhole = 8 << 10
	// maxObject is more than the API server accepts.
	maxObject = 4 << 20
	// entryPrice is for an entry of a map beside its JSON.
	entryPrice = 100
	// maxAnnotation is how much is kept of an annotation that means something to us.
	maxAnnotation = 1 << 10
	// maxPlace is how long an address or a Vault namespace may be to be kept: as a VaultConfig's.
	maxPlace = 2 << 10
	// vaultType is the type of a Connection that VaultTasks act with.
	vaultType = "VAULT"
	// sizeAnnotation marks what is abridged, and says how large the whole is. Where an author wrote it, the object is
	// fetched though it is whole, and nothing else happens.
	sizeAnnotation = "abridged.sallyport.dev/size"
	// contentAnnotation has the digest of what an abridged Connection says.
	contentAnnotation = "abridged.sallyport.dev/content"
)

// meant are the annotations that mean something to us. Any others are their author's, however many they are.
var meant = []string{
	v1alpha1.AnnotationRerun, v1alpha1.AnnotationRefresh, v1alpha1.AnnotationRestartOnChange, v1alpha1.AnnotationSeen,
	v1alpha1.AnnotationRestartedFor, v1alpha1.AnnotationRestartedAt, v1alpha1.AnnotationRestartMinInterval,
}

// Transform returns what an informer keeps of an object. Nobody reads who owns which field, and the whole that kubectl
// apply leaves in an annotation. Whoever writes an object that came from the cache writes a patch or its status, which
// leave all that is missing as it is. Informers may transform an object twice. One that it panics at is kept whole.
func Transform(object any) (any, error) {
	kept := object
	fault.Guarded(context.Background(), func() { kept = transform(object) })()
	return kept, nil
}

func transform(object any) any {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return object // a tombstone
	}
	accessor.SetManagedFields(nil)
	annotations := accessor.GetAnnotations()
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	switch o := object.(type) {
	case *metav1.PartialObjectMetadata:
		o.ObjectMeta = identity(&o.ObjectMeta, o.Kind == "Namespace")
	case *v1alpha1.Connection:
		entries := int64(0)
		for key, value := range o.Spec.Value {
			entries += entryPrice + int64(len(key)+len(value.Raw))
		}
		if size := sizeOf(&o.ObjectMeta, entries, o.Spec); size > maxWhole {
			return abridgedConnection(o, size)
		}
	case *v1alpha1.VaultConfig:
		// A status from before it was bounded may be larger than all others together. Without its token it is written anew.
		if o.Status.Token != nil && len(o.Status.Token.Policies) > auth.MaxPolicies {
			o.Status.Token = nil
		}
		if size := sizeOf(&o.ObjectMeta, 0, o.Spec); size > maxWhole {
			return abridgedConfig(o, size)
		}
	case *v1alpha1.VaultTask:
		if size := sizeOf(&o.ObjectMeta, int64(len(o.Spec.Data))*entryPrice, o.Spec); size > maxWhole {
			return abridgedTask(o, size)
		}
	}
	return object
}

// identity is what is kept of metadata: whose they are, and the annotations that mean something to us. The labels are
// those that selectors may look at.
func identity(from *metav1.ObjectMeta, labels bool) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{
		Namespace: from.Namespace, Name: from.Name, UID: from.UID, ResourceVersion: from.ResourceVersion,
		Generation: from.Generation, CreationTimestamp: from.CreationTimestamp, DeletionTimestamp: from.DeletionTimestamp,
	}
	if labels {
		kept.Labels = from.Labels
	}
	for _, key := range meant {
		if value, found := from.Annotations[key]; found && len(value) <= maxAnnotation {
			if kept.Annotations == nil {
				kept.Annotations = map[string]string{}
			}
			kept.Annotations[key] = value
		}
	}
	return kept
}

// sizeOf is what metadata and spec take, rounded up, if the entries of a map do not take too much already; not the
// status, which only we write.
func sizeOf(metadata *metav1.ObjectMeta, entries int64, spec any) int64 {
	size := entries
	if size > maxWhole {
		return size
	}
	for _, part := range []any{metadata, spec} {
		encoded, err := json.Marshal(part)
		if err != nil {
			return maxWhole + 1
		}
		size += int64(len(encoded))
	}
	return size
}

func marked(from *metav1.ObjectMeta, size int64) metav1.ObjectMeta {
	kept := identity(from, false)
	kept.Annotations = maps.Clone(kept.Annotations)
	if kept.Annotations == nil {
		kept.Annotations = map[string]string{}
	}
	before, _ := strconv.ParseInt(from.Annotations[sizeAnnotation], 10, 64)
	kept.Annotations[sizeAnnotation] = strconv.FormatInt(max(size, before), 10)
	return kept
}

// abridgedSize returns how large the whole of an object is; false if this is the whole.
func abridgedSize(object client.Object) (size int64, abridged bool) {
	text, abridged := object.GetAnnotations()[sizeAnnotation]
	size, _ = strconv.ParseInt(text, 10, 64)
	return min(max(size, maxWhole), maxObject), abridged
}

// Is tells whether an object lacks its content. One from Client.Get never does.
func Is(object client.Object) bool {
	_, abridged := abridgedSize(object)
	return abridged
}

// ContentDigest is that of a Connection's spec, also where the cache has only the rest of it.
func ContentDigest(connection *v1alpha1.Connection) string {
	if digest := connection.Annotations[contentAnnotation]; digest != "" && Is(connection) {
		return digest
	}
	return connection.Spec.ContentDigest()
}

// abridgedConnection keeps by which VaultConfigs elsewhere it is found, how often it is to be looked at, and which
// Vault it is about.
func abridgedConnection(o *v1alpha1.Connection, size int64) *v1alpha1.Connection {
	kept := &v1alpha1.Connection{
		TypeMeta: o.TypeMeta, ObjectMeta: marked(&o.ObjectMeta, size), Status: o.Status,
		Spec: v1alpha1.ConnectionSpec{Type: o.Spec.Type, RefreshInterval: o.Spec.RefreshInterval},
	}
	kept.Annotations[contentAnnotation] = ContentDigest(o)
	if o.Spec.Type == vaultType {
		for _, key := range []string{"url", "vaultNamespace"} {
			if value, found := o.Spec.Value[key]; found && len(value.Raw) <= maxPlace {
				if kept.Spec.Value == nil {
					kept.Spec.Value = map[string]apiextensionsv1.JSON{}
				}
				kept.Spec.Value[key] = value
			}
		}
	}
	seen := map[v1alpha1.VaultConfigReference]bool{}
	for i := range o.Spec.VaultSecrets {
		if ref := o.Spec.VaultSecrets[i].VaultConfigRef; ref.Namespace != "" && !seen[ref] {
			seen[ref] = true
			kept.Spec.VaultSecrets = append(kept.Spec.VaultSecrets, v1alpha1.VaultSecret{VaultConfigRef: ref})
		}
	}
	return kept
}

// abridgedConfig keeps which Vault it is about.
func abridgedConfig(o *v1alpha1.VaultConfig, size int64) *v1alpha1.VaultConfig {
	return &v1alpha1.VaultConfig{
		TypeMeta: o.TypeMeta, ObjectMeta: marked(&o.ObjectMeta, size), Status: o.Status,
		Spec: v1alpha1.VaultConfigSpec{URL: o.Spec.URL, VaultNamespace: o.Spec.VaultNamespace},
	}
}

// abridgedTask keeps where it does what, so that others learn that a secret has changed.
func abridgedTask(o *v1alpha1.VaultTask, size int64) *v1alpha1.VaultTask {
	kept := &v1alpha1.VaultTask{TypeMeta: o.TypeMeta, ObjectMeta: marked(&o.ObjectMeta, size), Status: o.Status}
	kept.Spec.Operation = o.Spec.Operation
	kept.Spec.VaultConfigRef, kept.Spec.ConnectionRef = o.Spec.VaultConfigRef, o.Spec.ConnectionRef
	if o.Spec.Vault != nil {
		kept.Spec.Vault = o.Spec.Vault.DeepCopy()
		kept.Spec.Vault.CACertificate, kept.Spec.Vault.Headers = "", nil
	}
	return kept
}
