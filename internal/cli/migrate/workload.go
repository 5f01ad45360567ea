package migrate

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// target names a workload.
type target struct {
	kind string
	key
}

// Workload is an object with a pod template, and what is changed in it. Each change is made twice, in the object and in
// a patch, which is a strategic merge patch as kubectl and kustomize take it: lists are merged by name, and null
// removes. For kinds that are not Kubernetes' own, whose lists nobody merges, it is a JSON merge patch.
type Workload struct {
	Object *unstructured.Unstructured
	Patch  map[string]any

	target
	called  string
	changed bool
	// where the pod template is: a path in the object, and its metadata and spec.
	path     []string
	template map[string]any
}

// openWorkload finds the pod template of an object, whatever its kind; nil if there is none.
func openWorkload(object *unstructured.Unstructured) *Workload {
	paths := [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}, {"template"}}
	if object.GetKind() == kindPod {
		paths = [][]string{{}}
	}
	for _, path := range paths {
		found, has, err := unstructured.NestedFieldNoCopy(object.Object, path...)
		template, is := found.(map[string]any)
		if len(path) == 0 {
			template, is, has, err = object.Object, true, true, nil
		}
		if err != nil || !has || !is {
			continue
		}
		spec, _ := template["spec"].(map[string]any)
		if _, has := spec["containers"].([]any); !has {
			continue
		}
		meta := map[string]any{"name": object.GetName()}
		if object.GetNamespace() != "" {
			meta["namespace"] = object.GetNamespace()
		}
		return &Workload{
			Object: object, path: path, template: template, called: called(object),
			target: target{object.GetKind(), key{object.GetNamespace(), object.GetName()}},
			Patch:  map[string]any{"apiVersion": object.GetAPIVersion(), "kind": object.GetKind(), "metadata": meta},
		}
	}
	return nil
}

// spec of the pods.
func (w *Workload) spec() map[string]any {
	spec, _ := w.template["spec"].(map[string]any)
	return spec
}

// annotations of the pods.
func (w *Workload) annotations() map[string]any {
	meta, _ := w.template["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	return annotations
}

// container is one of a pod's, with the field that it stands in.
type container struct {
	field, name string
	content     map[string]any
}

func (w *Workload) containers() []container {
	var all []container
	for _, field := range []string{"initContainers", "containers"} {
		for _, content := range objects(w.spec()[field]) {
			name, _ := content["name"].(string)
			all = append(all, container{field, name, content})
		}
	}
	return all
}

func objects(list any) []map[string]any {
	items, _ := list.([]any)
	var all []map[string]any
	for _, item := range items {
		if content, is := item.(map[string]any); is {
			all = append(all, content)
		}
	}
	return all
}

// inside returns the object at a path, made if it is not there.
func inside(content map[string]any, path ...string) map[string]any {
	for _, name := range path {
		next, is := content[name].(map[string]any)
		if !is {
			next = map[string]any{}
			content[name] = next
		}
		content = next
	}
	return content
}

// named returns the item of a name in a list, made if it is not there.
func named(content map[string]any, list, name string) map[string]any {
	for _, item := range objects(content[list]) {
		if item["name"] == name {
			return item
		}
	}
	made := map[string]any{"name": name}
	items, _ := content[list].([]any)
	content[list] = append(items, made)
	return made
}

// patched is the part of the patch that stands for the pod template.
func (w *Workload) patched() map[string]any {
	w.changed = true
	return inside(w.Patch, w.path...)
}

// mount puts a Connection into the place of a volume's source.
func (w *Workload) mount(volume string, connection key) {
	in := named(w.spec(), "volumes", volume)
	patch := named(inside(w.patched(), "spec"), "volumes", volume)
	source := map[string]any{
		"driver": v1alpha1.DriverName, "readOnly": true,
		"volumeAttributes": map[string]any{v1alpha1.AttributeConnection: connection.name},
	}
	inPatch := maps.Clone(source)
	if former, is := in["csi"].(map[string]any); is {
		attributes := map[string]any{v1alpha1.AttributeConnection: connection.name}
		for name := range inside(former, "volumeAttributes") {
			attributes[name] = nil
		}
		inPatch["volumeAttributes"] = attributes
		for name := range former {
			if _, set := source[name]; !set {
				inPatch[name] = nil
			}
		}
	}
	for name := range in {
		if name == "name" {
			continue
		}
		delete(in, name)
		patch[name] = nil
	}
	in["csi"], patch["csi"] = source, inPatch
}

// mountInto mounts a volume in a container.
func (w *Workload) mountInto(in container, volume, path string) {
	mount := func(content map[string]any) {
		items, _ := content["volumeMounts"].([]any)
		content["volumeMounts"] = append(items, map[string]any{"name": volume, "mountPath": path, "readOnly": true})
	}
	mount(in.content)
	mount(named(inside(w.patched(), "spec"), in.field, in.name))
}

// unannotate removes annotations of the pods.
func (w *Workload) unannotate(names ...string) {
	if len(names) == 0 {
		return
	}
	patch := inside(w.patched(), "metadata", "annotations")
	for _, name := range names {
		delete(w.annotations(), name)
		patch[name] = nil
	}
	if len(w.annotations()) == 0 {
		delete(inside(w.template, "metadata"), "annotations")
	}
}

// Kinds whose volumes cannot be changed.
const (
	kindPod = "Pod"
	kindJob = "Job"
)

// fixed reports a workload of the cluster that the API server does not let anybody change.
func (m *pods) fixed(w *Workload) {
	if m.in.get != nil && w.changed && (w.kind == kindPod || w.kind == kindJob) {
		m.note(Elsewhere, w.called, "", "the volumes of a %s cannot be changed: delete it, and apply it whole, as printed without --patches", w.kind)
	}
}

// rolled annotates a workload that was rolled when its Secret changed.
func (m *pods) rolled(w *Workload) {
	if !m.restarts[w.target] || !w.changed {
		return
	}
	if group, is := rollable[w.kind]; !is || group != w.Object.GroupVersionKind().Group {
		return
	}
	for _, content := range []map[string]any{w.Object.Object, w.Patch} {
		inside(content, "metadata", "annotations")[v1alpha1.AnnotationRestartOnChange] = "true"
	}
}

// rollable are the kinds that restart-on-change is for, with their groups.
var rollable = map[string]string{
	"Deployment": "apps", "StatefulSet": "apps", "DaemonSet": "apps", rolloutOfArgo.Kind: rolloutOfArgo.Group,
}

// rolloutOfArgo is Argo's, whose pod template is its own or that of another object.
var rolloutOfArgo = schema.GroupKind{Group: "argoproj.io", Kind: "Rollout"}

// builtIn are the groups for which a strategic merge patch merges lists by name. A merge patch of other kinds replaces
// them.
var builtIn = []string{"", "apps", "batch"}

// replaceLists has the patch of a kind that is not Kubernetes' own hold whole lists.
func (w *Workload) replaceLists() {
	if !w.changed || slices.Contains(builtIn, w.Object.GroupVersionKind().Group) {
		return
	}
	patch := inside(w.patched(), "spec")
	for _, list := range []string{"volumes", "initContainers", "containers"} {
		if _, is := patch[list]; is {
			patch[list] = w.spec()[list]
		}
	}
}
