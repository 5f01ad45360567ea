package auth

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

const root = "../../../"

// TestTheRegistryIsWhatTheAPIAndTheDocsSay compares the methods that there are with what users can write and read.
func TestTheRegistryIsWhatTheAPIAndTheDocsSay(t *testing.T) {
	g := NewWithT(t)
	names := Names()
	var methods []string
	for _, r := range registrations {
		methods = append(methods, r.name)
	}
	g.Expect(methods).To(ConsistOf(names), "the fields of VaultAuth")

	text, err := os.ReadFile(root + "config/crd/bases/sallyport.dev_vaultconfigs.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(text, &crd)).To(Succeed())
	for _, version := range crd.Spec.Versions {
		auth := version.Schema.OpenAPIV3Schema.Properties["spec"].Properties["auth"]
		g.Expect(slices.Collect(maps.Keys(auth.Properties))).To(ConsistOf(names))
		var union []string
		for _, rule := range auth.XValidations {
			if strings.HasPrefix(rule.Message, "exactly one of the fields") {
				for _, field := range regexp.MustCompile(`has\(self\.(\w+)\)`).FindAllStringSubmatch(rule.Rule, -1) {
					union = append(union, field[1])
				}
			}
		}
		g.Expect(union).To(Equal(names), "exactly one of them")
	}

	docs, err := os.ReadFile(root + "docs/reference/vaultconfig.md")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(docs)).To(ContainSubstring("| `auth` | Exactly one of `" + strings.Join(names, "`, `") + "`:"))
	_, table, found := strings.Cut(string(docs), "| Method | Fields | Its credential |\n")
	g.Expect(found).To(BeTrue())
	table, _, _ = strings.Cut(table, "\n\n")
	var documented []string
	for row := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		if cell = strings.ReplaceAll(cell, "`", ""); strings.Trim(cell, "|-\n") != "" {
			documented = append(documented, strings.Split(cell, ", ")...)
		}
	}
	g.Expect(documented).To(ConsistOf(names), "the table of methods")
}

func TestExactlyOneMethodIsSet(t *testing.T) {
	g := NewWithT(t)
	config := builder.VaultConfig("shop", "prod", builder.WithAuth(v1alpha1.VaultAuth{}))
	input := Input{Config: config, Source: FromSpec(config)}
	_, err := New(input)
	g.Expect(err).To(MatchError("spec.auth: no method is set; set one of token, kubernetes, jwt, appRole, userPass, ldap and cert (VaultConfig shop/prod)"))
	g.Expect(MethodName(&config.Spec.Auth)).To(BeEmpty())
	config.Spec.Auth.LDAP = &v1alpha1.PasswordAuth{Username: "bob"}
	g.Expect(MethodName(&config.Spec.Auth)).To(Equal("ldap"))
	method, err := New(input)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(method.Label()).To(Equal("ldap user bob"))
	config.Spec.Auth.Token = &v1alpha1.TokenAuth{}
	_, err = New(input)
	g.Expect(err).To(MatchError("spec.auth: more than one method is set; leave one of spec.auth.token, spec.auth.ldap (VaultConfig shop/prod)"))
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
}
