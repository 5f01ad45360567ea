package env

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Container is what a manifest of config/ says of the one container in the pods that it makes.
type Container struct{ spec corev1.Container }

// ShippedContainer reads it from a manifest below config/, such as controller/deployment.yaml.
func ShippedContainer(manifest string) (*Container, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(root, "config", filepath.FromSlash(manifest))
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var workload struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096).Decode(&workload); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	containers := workload.Spec.Template.Spec.Containers
	if len(containers) != 1 {
		return nil, fmt.Errorf("%s: %d containers, not one", file, len(containers))
	}
	return &Container{spec: containers[0]}, nil
}

// Arguments of the program.
func (c *Container) Arguments() []string { return c.spec.Args }

// MemoryLimit in bytes.
func (c *Container) MemoryLimit() int64 { return c.spec.Resources.Limits.Memory().Value() }

// Environment is what the manifest sets that does not depend on a pod: plain values, and the memory limit.
func (c *Container) Environment() []string {
	var variables []string
	for _, v := range c.spec.Env {
		switch {
		case v.ValueFrom == nil:
			variables = append(variables, v.Name+"="+v.Value)
		case v.ValueFrom.ResourceFieldRef != nil && v.ValueFrom.ResourceFieldRef.Resource == "limits.memory":
			variables = append(variables, v.Name+"="+strconv.FormatInt(c.MemoryLimit(), 10))
		}
	}
	return variables
}
