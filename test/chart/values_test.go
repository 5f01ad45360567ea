package chart

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

// expectSame compares the chart with what kustomize makes. Two things differ: Helm makes the namespace itself, and is
// told to keep the CRDs when the chart is uninstalled.
func expectSame(ctx context.Context, overlay string, arguments ...string) {
	GinkgoHelper()
	want, got := kustomized(ctx, overlay), rendered(ctx, arguments...)
	delete(want, "Namespace//"+namespace)
	Expect(got.names()).To(Equal(want.names()))
	for name, object := range got {
		if object.GetKind() == "CustomResourceDefinition" {
			annotations := object.GetAnnotations()
			Expect(annotations).To(HaveKeyWithValue(kept, "keep"))
			delete(annotations, kept)
			object.SetAnnotations(annotations)
		}
		Expect(object.Object).To(Equal(want[name].Object), name)
	}
}

var _ = Describe("the values", func() {
	It("make what config/default is, where none is set", func(ctx SpecContext) {
		expectSame(ctx, config("default"))
	})

	overlays, err := filepath.Glob("testdata/overlays/*")
	if err != nil || len(overlays) == 0 {
		panic("testdata/overlays is missing")
	}
	for _, overlay := range overlays {
		It("make what the overlay is: "+filepath.Base(overlay), func(ctx SpecContext) {
			expectSame(ctx, overlay, "--values", filepath.Join(overlay, "values.yaml"))
		})
	}

	It("have each an effect", func(ctx SpecContext) {
		var options map[string]struct {
			Value any            `json:"value"`
			With  map[string]any `json:"with"`
		}
		read("testdata/options.yaml", &options)
		sections, leaves := schemaPaths()
		Expect(sections).To(ContainElement("controller.podDisruptionBudget"))
		leaves = slices.DeleteFunc(leaves, func(path string) bool { return path == "adopt" || path == "global" })
		Expect(slices.Sorted(maps.Keys(options))).To(Equal(leaves), "the schema, and testdata/options.yaml")
		for path, option := range options {
			before := rendered(ctx, "--values", valuesFile(option.With))
			after := rendered(ctx, "--values", valuesFile(option.With), "--values", valuesFile(nested(path, option.Value)))
			Expect(after).NotTo(Equal(before), path)
		}
	})

	It("have each a default and a form", func() {
		var defaults map[string]any
		read(config("chart/values.yaml"), &defaults)
		_, leaves := schemaPaths()
		for _, path := range leaves {
			value, found := any(defaults), path == "global"
			for key := range strings.SplitSeq(path, ".") {
				if section, ok := value.(map[string]any); ok {
					value, found = section[key], found || section[key] != nil
				}
			}
			Expect(found).To(BeTrue(), path)
		}
	})

	It("are refused where a key is misspelt, wherever it stands", func(ctx SpecContext) {
		sections, _ := schemaPaths()
		Expect(len(sections)).To(BeNumerically(">", 12))
		for _, section := range sections {
			_, err := template(ctx, "--values", valuesFile(nested(strings.TrimPrefix(section+".replicsa", "."), 3)))
			Expect(err).To(MatchError(ContainSubstring("additional properties 'replicsa' not allowed")), section)
		}
	})

	DescribeTable("are refused", func(ctx SpecContext, values, message string) {
		file := filepath.Join(GinkgoT().TempDir(), "values.yaml")
		Expect(os.WriteFile(file, []byte(values), 0o600)).To(Succeed())
		_, err := template(ctx, "--values", file)
		Expect(err).To(MatchError(ContainSubstring(message)))
	},
		Entry("a Vault's path in place of its origin", `controller: {allowedVaultURLs: ["https://vault.example.com/v1"]}`,
			"/controller/allowedVaultURLs/0"),
		Entry("a digest that is none", `image: {digest: "sha256:1234"}`, "/image/digest"),
		Entry("no replica", `controller: {replicas: 0}`, "/controller/replicas"),
		Entry("an access that there is not", `rbac: {secretAccess: all}`, "/rbac/secretAccess"),
		Entry("namespaces that would have no effect", `rbac: {namespaces: [shop]}`, "/rbac/namespaces"),
		Entry("a level at which Secrets would be logged", `log: {level: 6}`, "/log/level"),
		Entry("a kubelet directory with a slash at its end", `node: {kubeletDir: /data/kubelet/}`, "/node/kubeletDir"),
		Entry("alerts without the metrics that they ask for", `metrics: {enabled: false, rules: {enabled: true}}`,
			"metrics.rules.enabled needs metrics.enabled"),
		Entry("injection into pods of a cluster that cannot", `{injection: {enabled: true}, compat: {kubernetes: "1.35"}}`,
			"injection.enabled needs Kubernetes 1.36 or newer, which has MutatingAdmissionPolicy, and this is 1.35: leave it off"),
		Entry("a version that the program does not run on", `compat: {kubernetes: "1.31"}`,
			"Kubernetes 1.31 is too old: Sallyport needs 1.32 or newer; upgrade the cluster, or correct compat.kubernetes"),
	)

	It("follow the cluster's version", func(ctx SpecContext) {
		for version, expected := range map[string]bool{"1.34.9": false, "1.35.0": true} {
			driver := rendered(ctx, "--kube-version", version)["CSIDriver//csi.sallyport.dev"]
			Expect(driver.Object["spec"].(map[string]any)["serviceAccountTokenInSecrets"] != nil).To(Equal(expected), version)
		}
		_, err := template(ctx, "--kube-version", "1.31.9")
		Expect(err).To(MatchError(ContainSubstring("requires kubeVersion: >=1.32.0-0 which is incompatible with Kubernetes")))
	})

	It("pass Helm's own lint", func(ctx SpecContext) {
		output, err := helm(ctx, "lint", "--strict", config("chart"))
		Expect(err).NotTo(HaveOccurred(), output)
		Expect(output).NotTo(ContainSubstring("[WARNING]"))
	})
})

func read(path string, into any) {
	GinkgoHelper()
	content, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.UnmarshalStrict(content, into)).To(Succeed())
}

// nested returns a map with one value at a path such as a.b.c.
func nested(path string, value any) map[string]any {
	first, rest, more := strings.Cut(path, ".")
	if !more {
		return map[string]any{first: value}
	}
	return map[string]any{first: nested(rest, value)}
}

func valuesFile(values map[string]any) string {
	GinkgoHelper()
	content, err := json.Marshal(values)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "values.yaml")
	Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	return file
}

// schemaPaths returns the schema's sections, which have keys of their own, and the options in them, in order.
func schemaPaths() (sections, leaves []string) {
	GinkgoHelper()
	var root schema
	read(config("chart/values.schema.json"), &root)
	root.walk("", func(path string, isSection bool) {
		if isSection {
			sections = append(sections, path)
		} else {
			leaves = append(leaves, path)
		}
	})
	slices.Sort(leaves)
	return sections, leaves
}

type schema map[string]any

func (s schema) walk(path string, visit func(path string, isSection bool)) {
	properties, isSection := s["properties"].(map[string]any)
	visit(path, isSection)
	for name, property := range properties {
		if child, ok := property.(map[string]any); ok {
			schema(child).walk(strings.TrimPrefix(path+"."+name, "."), visit)
		}
	}
}
