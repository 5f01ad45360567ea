package migrate

import (
	"encoding/json"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Manifests are VaultConfigs, Connections and workloads, in the order in which they are needed: workloads whole, or as
// patches.
func (r *Result) Manifests(patches bool) ([]map[string]any, error) {
	var all []map[string]any
	add := func(object any) error {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return err
		}
		delete(content, "status")
		if meta, is := content["metadata"].(map[string]any); is {
			delete(meta, "creationTimestamp")
		}
		all = append(all, content)
		return nil
	}
	for _, config := range r.Configs {
		if err := add(config); err != nil {
			return nil, err
		}
	}
	for _, connection := range r.Connections {
		if err := add(connection); err != nil {
			return nil, err
		}
	}
	for _, w := range r.Workloads {
		if patches {
			all = append(all, w.Patch)
		} else {
			all = append(all, w.Object.Object)
		}
	}
	return all, nil
}

// WriteYAML writes documents.
func WriteYAML(out io.Writer, manifests []map[string]any) error {
	for i, manifest := range manifests {
		if i > 0 {
			if _, err := io.WriteString(out, "---\n"); err != nil {
				return err
			}
		}
		// By way of JSON: numbers keep how they are written.
		encoded, err := json.Marshal(manifest)
		if err != nil {
			return err
		}
		document, err := yaml.JSONToYAML(encoded)
		if err != nil {
			return err
		}
		if _, err := out.Write(document); err != nil {
			return err
		}
	}
	return nil
}
