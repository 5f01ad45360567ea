package integration

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("The samples", func() {
	It("are accepted by the API server as they are, and there is one of each kind and each operation", func() {
		root, err := env.Root()
		Expect(err).NotTo(HaveOccurred())
		paths, err := filepath.Glob(filepath.Join(root, "config", "samples", "*.yaml"))
		Expect(err).NotTo(HaveOccurred())
		namespace := newNamespace()
		// Strict, as kubectl asks for it: an unknown field is an error, not a warning.
		strict := client.WithFieldValidation(cp.Client, "Strict")
		kinds, operations := map[string]int{}, map[string]int{}
		for _, path := range paths {
			if filepath.Base(path) == "kustomization.yaml" {
				continue
			}
			for _, object := range decode(path) {
				object.SetNamespace(namespace)
				if object.GetKind() == "Namespace" {
					continue
				}
				Expect(strict.Create(ctx, object)).To(Succeed(), "%s: %s %s", path, object.GetKind(), object.GetName())
				kinds[object.GetKind()]++
				if operation, _, _ := unstructured.NestedString(object.Object, "spec", "operation"); operation != "" {
					operations[operation]++
				}
			}
		}
		for _, kind := range []string{"VaultConfig", "Connection", "VaultTask"} {
			Expect(kinds).To(HaveKey(kind))
		}
		crd := decode(filepath.Join(root, "config", "crd", "bases", "sallyport.dev_vaulttasks.yaml"))[0]
		versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
		Expect(err).NotTo(HaveOccurred())
		known, _, err := unstructured.NestedStringSlice(versions[0].(map[string]any),
			"schema", "openAPIV3Schema", "properties", "spec", "properties", "operation", "enum")
		Expect(err).NotTo(HaveOccurred())
		Expect(known).NotTo(BeEmpty())
		for _, operation := range known {
			Expect(operations).To(HaveKey(operation))
		}
	})
})

func decode(path string) []*unstructured.Unstructured {
	GinkgoHelper()
	content, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		Expect(err).NotTo(HaveOccurred())
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
