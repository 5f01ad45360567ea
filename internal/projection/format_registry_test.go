package projection

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func registered() []string {
	var names []string
	for name := range maps.Keys(fileFormats) {
		names = append(names, string(name))
	}
	return names
}

func TestTheFormatsOfTheRegistryAreThoseOfTheCRD(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("../../config/crd/bases/sallyport.dev_connections.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.UnmarshalStrict(content, &crd)).To(Succeed())
	for _, version := range crd.Spec.Versions {
		files := version.Schema.OpenAPIV3Schema.Properties["spec"].Properties["files"]
		var admitted []string
		for _, value := range files.Items.Schema.Properties["format"].Enum {
			admitted = append(admitted, strings.Trim(string(value.Raw), `"`))
		}
		g.Expect(admitted).To(ConsistOf(registered()), "version %s: edit FileFormat in api/v1alpha1, and make generate", version.Name)
	}
}

func TestTheFormatsOfTheRegistryAreThoseOfTheDocs(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("../../docs/reference/connection.md")
	g.Expect(err).NotTo(HaveOccurred())
	_, section, found := strings.Cut(string(content), "\n### Formats\n")
	g.Expect(found).To(BeTrue())
	section, _, _ = strings.Cut(section, "\n#")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
	}
	g.Expect(documented).To(ConsistOf(registered()), "the table of formats in docs/reference/connection.md")
}

func TestEachFormatHoldsAPlainValue(t *testing.T) {
	for name, format := range fileFormats {
		t.Run(string(name), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(validateFormatKeys(name, []string{"user"})).To(Succeed())
			content, err := format.write(map[string]any{"user": "scott"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(content)).To(And(ContainSubstring("user"), ContainSubstring("scott"), HaveSuffix("\n")))
		})
	}
	NewWithT(t).Expect(fileFormats).NotTo(BeEmpty())
}
