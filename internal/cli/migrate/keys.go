package migrate

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// cureKeys says how to tell the keys of a secret.
const cureKeys = "a reference names its key, and no manifest tells which there are: give them with --keys %s=KEY,KEY, or read from the " +
	"cluster, where the Secret tells"

// keys returns the keys of a synced Secret: those of the options, of the Secret itself, or those that workloads name,
// if none takes the Secret whole. Nil if nobody tells.
func (m *migration) keys(ctx context.Context, of key) ([]string, error) {
	for _, name := range []string{of.String(), of.name} {
		if keys := m.Keys[name]; len(keys) > 0 {
			return keys, nil
		}
	}
	keys, err := m.in.keysOf(ctx, of)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		keys = m.usedKeys(of)
	}
	return slices.DeleteFunc(keys, func(name string) bool { return name == rawKey }), nil
}

// usedKeys are those that pod templates name.
func (m *migration) usedKeys(of key) []string {
	var keys []string
	for _, object := range m.in.objects {
		w := openWorkload(object)
		if w == nil || w.namespace != of.namespace {
			continue
		}
		used, whole := w.usedKeys(of.name)
		if whole {
			return nil
		}
		keys = append(keys, used...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// usedKeys are those keys of a Secret that a pod template names; whole is whether it takes it as it is.
func (w *Workload) usedKeys(secret string) (keys []string, whole bool) {
	for _, volume := range objects(w.spec()["volumes"]) {
		name, _ := volume["name"].(string)
		source, _ := volume["secret"].(map[string]any)
		if of, _ := source["secretName"].(string); of != secret {
			continue
		}
		items := objects(source["items"])
		for _, item := range items {
			if of, is := item["key"].(string); is {
				keys = append(keys, of)
			}
		}
		if len(items) == 0 {
			paths, all := w.subPaths(name)
			keys, whole = append(keys, paths...), whole || all
		}
	}
	for _, c := range w.containers() {
		for _, variable := range objects(c.content["env"]) {
			ref, _, _ := unstructured.NestedMap(variable, "valueFrom", "secretKeyRef")
			if of, is := ref["key"].(string); is && ref["name"] == secret {
				keys = append(keys, of)
			}
		}
		for _, from := range objects(c.content["envFrom"]) {
			name, _, _ := unstructured.NestedString(from, "secretRef", "name")
			whole = whole || name == secret
		}
	}
	return keys, whole
}

// subPaths are the files of a volume that containers mount one by one; all is whether one mounts the directory.
func (w *Workload) subPaths(volume string) (paths []string, all bool) {
	for _, c := range w.containers() {
		for _, mount := range objects(c.content["volumeMounts"]) {
			if mount["name"] != volume {
				continue
			}
			path, _ := mount["subPath"].(string)
			if path == "" {
				all = true
				continue
			}
			paths = append(paths, path)
		}
	}
	return paths, all
}
