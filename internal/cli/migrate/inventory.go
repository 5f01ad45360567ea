package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// API groups of the others.
const (
	groupCSI      = "secrets-store.csi.x-k8s.io"
	groupESO      = "external-secrets.io"
	groupESOMakes = "generators.external-secrets.io"
	groupVSO      = "secrets.hashicorp.com"
)

// rawKey is a key with all of Vault's answer, which the Vault Secrets Operator adds.
const rawKey = "_raw"

// key names an object of a known kind.
type key struct{ namespace, name string }

func (k key) String() string {
	if k.namespace == "" {
		return k.name
	}
	return k.namespace + "/" + k.name
}

// Inventory is the input: objects of manifests or of a cluster.
type Inventory struct {
	objects []*unstructured.Unstructured
	// owned are what controllers made of objects of kinds that are not listed: their pod templates are unknown.
	owned []*unstructured.Unstructured
	// unread are kinds that may not be listed.
	unread []string
	// get fetches what the objects refer to and is not among them; nil where there is no cluster.
	get func(context.Context, schema.GroupKind, key) (*unstructured.Unstructured, error)
	// secretKeys asks the cluster for the keys of a Secret; nil where there is none.
	secretKeys func(context.Context, key) ([]string, error)
}

// find returns an object that others refer to; nil if there is none.
func (in *Inventory) find(ctx context.Context, kind schema.GroupKind, of key) (*unstructured.Unstructured, error) {
	for _, object := range in.objects {
		if is(object, kind, of) {
			return object, nil
		}
	}
	if in.get == nil {
		return nil, nil
	}
	return in.get(ctx, kind, of)
}

func is(object *unstructured.Unstructured, kind schema.GroupKind, of key) bool {
	return object.GroupVersionKind().GroupKind() == kind && of == key{object.GetNamespace(), object.GetName()}
}

// named returns the objects of a kind with a name, in whatever namespace.
func (in *Inventory) named(kind schema.GroupKind, name string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, object := range in.objects {
		if object.GroupVersionKind().GroupKind() == kind && object.GetName() == name {
			found = append(found, object)
		}
	}
	return found
}

// keysOf returns the keys of a Secret, as a manifest or the cluster tells; nil if neither does. Values are not looked
// at.
func (in *Inventory) keysOf(ctx context.Context, of key) ([]string, error) {
	for _, object := range in.objects {
		if !is(object, schema.GroupKind{Kind: "Secret"}, of) {
			continue
		}
		var keys []string
		for _, field := range []string{"data", "stringData"} {
			values, _ := object.Object[field].(map[string]any)
			for name := range values {
				keys = append(keys, name)
			}
		}
		slices.Sort(keys)
		return slices.Compact(keys), nil
	}
	if in.secretKeys == nil {
		return nil, nil
	}
	return in.secretKeys(ctx, of)
}

// nothing says that there is nothing to migrate, and what there is in its place.
func (in *Inventory) nothing() error {
	const kinds = "SecretProviderClass, SecretStore, ClusterSecretStore, ExternalSecret, VaultStaticSecret, " +
		"VaultDynamicSecret, VaultPKISecret, or a pod template with the annotation " + annotationInject
	if len(in.objects) == 0 {
		return fmt.Errorf("there is nothing to migrate: the input has no objects; give manifests with -f, or the namespace of a "+
			"cluster with -n: %s", kinds)
	}
	var seen []string
	for _, object := range in.objects {
		if called := called(object); !slices.Contains(seen, called) {
			seen = append(seen, called)
		}
	}
	if more := len(seen) - 3; more > 0 {
		seen = append(seen[:3], fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("there is nothing to migrate among %s; what can be migrated is %s", strings.Join(seen, ", "), kinds)
}

// called is how the report names an object.
func called(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + key{object.GetNamespace(), object.GetName()}.String()
}

// stranger reports an object of theirs that this command cannot do anything with, and returns how many it was.
func (m *migration) stranger(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case kindAuth, kindAuthGlobal, kindConnection:
		// They become part of the VaultConfig of each secret that is read with them.
		return 0
	}
	switch object.GroupVersionKind().Group {
	case groupCSI, groupESO, groupESOMakes, groupVSO:
		m.note(NoEqual, called(object), "", "this command does not know the kind %s of %s: leave it to the program that does", object.GetKind(),
			object.GetAPIVersion())
		return 1
	}
	return 0
}
