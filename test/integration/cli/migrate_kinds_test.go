package cli

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// theirKind is a kind of another project's: of its schema only the defaults, which the API server writes into objects
// whose owners did not.
type theirKind struct {
	kind, group, version string
	cluster              bool
	defaults             string
}

var theirKinds = []theirKind{
	{kind: "SecretProviderClass", group: "secrets-store.csi.x-k8s.io", version: "v1"},
	{kind: "VaultConnection", group: "secrets.hashicorp.com", version: "v1beta1", defaults: `
skipTLSVerify: {type: boolean, default: false}`},
	{kind: "VaultAuth", group: "secrets.hashicorp.com", version: "v1beta1", defaults: `
kubernetes: {type: object, properties: {tokenExpirationSeconds: {type: integer, default: 600}}, x-kubernetes-preserve-unknown-fields: true}`},
	{kind: "VaultAuthGlobal", group: "secrets.hashicorp.com", version: "v1beta1"},
	{kind: "VaultStaticSecret", group: "secrets.hashicorp.com", version: "v1beta1", defaults: `
hmacSecretData: {type: boolean, default: true}` + destination},
	{kind: "VaultDynamicSecret", group: "secrets.hashicorp.com", version: "v1beta1", defaults: `
renewalPercent: {type: integer, default: 67}` + destination},
	{kind: "VaultPKISecret", group: "secrets.hashicorp.com", version: "v1beta1", defaults: destination},
	{kind: "SecretStore", group: "external-secrets.io", version: "v1", defaults: vaultProvider},
	{kind: "ClusterSecretStore", group: "external-secrets.io", version: "v1", cluster: true, defaults: vaultProvider},
	{kind: "ExternalSecret", group: "external-secrets.io", version: "v1", defaults: `
refreshInterval: {type: string, default: 1h0m0s}
target:
  type: object
  default: {creationPolicy: Owner, deletionPolicy: Retain}
  x-kubernetes-preserve-unknown-fields: true
  properties:
    creationPolicy: {type: string, default: Owner}
    deletionPolicy: {type: string, default: Retain}
    nullBytePolicy: {type: string, default: Ignore}
    template:
      type: object
      x-kubernetes-preserve-unknown-fields: true
      properties: {engineVersion: {type: string, default: v2}, mergePolicy: {type: string, default: Replace}}
data:
  type: array
  items: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {remoteRef: ` + remoteRef + `}}
dataFrom:
  type: array
  items: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {extract: ` + remoteRef + `}}`},
}

const (
	destination = `
destination:
  type: object
  x-kubernetes-preserve-unknown-fields: true
  properties:
    create: {type: boolean, default: false}
    overwrite: {type: boolean, default: false}
    transformation: {type: object, default: {}, x-kubernetes-preserve-unknown-fields: true, properties: {resync: {type: boolean, default: true}}}`
	remoteRef = `{type: object, x-kubernetes-preserve-unknown-fields: true, properties: {` +
		`conversionStrategy: {type: string, default: Default}, decodingStrategy: {type: string, default: None}, ` +
		`metadataPolicy: {type: string, default: None}, nullBytePolicy: {type: string, default: Ignore}}}`
	vaultProvider = `
provider:
  type: object
  x-kubernetes-preserve-unknown-fields: true
  properties:
    vault: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {version: {type: string, default: v2}}}`
)

// installTheirKinds has the API server know the kinds of the others until the container ends.
func installTheirKinds() {
	GinkgoHelper()
	var definitions []*apiextensionsv1.CustomResourceDefinition
	for _, their := range theirKinds {
		spec := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
		Expect(yaml.Unmarshal([]byte(their.defaults), &spec.Properties)).To(Succeed(), their.kind)
		schema := &apiextensionsv1.JSONSchemaProps{
			Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec},
		}
		singular := strings.ToLower(their.kind)
		plural := singular + "s"
		if base, is := strings.CutSuffix(plural, "ss"); is {
			plural = base + "sses"
		}
		scope := apiextensionsv1.NamespaceScoped
		if their.cluster {
			scope = apiextensionsv1.ClusterScoped
		}
		definitions = append(definitions, &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: plural + "." + their.group},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: their.group, Scope: scope,
				Names: apiextensionsv1.CustomResourceDefinitionNames{
					Plural: plural, Singular: singular, Kind: their.kind, ListKind: their.kind + "List",
				},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: their.version, Served: true, Storage: true,
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: schema},
				}},
			},
		})
	}
	options := envtest.CRDInstallOptions{CRDs: definitions}
	_, err := envtest.InstallCRDs(cp.Config, options)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(envtest.UninstallCRDs(cp.Config, options)).To(Succeed()) })
}
