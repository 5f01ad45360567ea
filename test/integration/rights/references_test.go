package rights

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// reference is a field that names another object, in a spec that names nothing else but what everybody here may use.
type reference struct {
	spec    string
	refusal string // what a writer is told who may not use the object
}

const (
	theSecret    = "ask for the right to get Secret private in this namespace"
	theConfigMap = ") may not refer to a ConfigMap that you may not get yourself; ask for the right to get ConfigMap private in this namespace"
	theAccount   = "ask for the right to create serviceaccounts/token of private in this namespace"
)

// byAuth are the references in auth, which VaultConfigs and inline Vaults of VaultTasks have in common.
var byAuth = map[string]reference{
	"auth.token.secretKeyRef":              {"auth: {token: {secretKeyRef: {name: private, key: k}}}", theSecret},
	"auth.appRole.secretIDSecretKeyRef":    {"auth: {appRole: {roleID: r, secretIDSecretKeyRef: {name: private, key: k}}}", theSecret},
	"auth.userPass.passwordSecretKeyRef":   {"auth: {userPass: {username: u, passwordSecretKeyRef: {name: private, key: k}}}", theSecret},
	"auth.ldap.passwordSecretKeyRef":       {"auth: {ldap: {username: u, passwordSecretKeyRef: {name: private, key: k}}}", theSecret},
	"auth.cert.clientCertificateSecretRef": {"auth: {cert: {clientCertificateSecretRef: {name: private}}}", theSecret},
	"auth.kubernetes.serviceAccountName":   {"auth: {kubernetes: {role: r, serviceAccountName: private}}", theAccount},
	"auth.jwt.serviceAccountName":          {"auth: {jwt: {role: r, serviceAccountName: private}}", theAccount},
	"caCertificateFrom.secretKeyRef": {
		"auth: {token: {secretKeyRef: {name: open, key: k}}}\ncaCertificateFrom: {secretKeyRef: {name: private, key: k}}",
		") may not refer to a Secret that you may not get yourself; ask for the right to get Secret open and Secret private in this namespace",
	},
	"headers[].secretKeyRef": {
		"auth: {token: {secretKeyRef: {name: open, key: k}}}\nheaders: [{name: X-A, value: a}, {name: X-B, secretKeyRef: {name: private, key: k}}]",
		") may not refer to a Secret that you may not get yourself; ask for the right to get Secret open and Secret private in this namespace",
	},
	"caCertificateFrom.configMapKeyRef": {
		"auth: {token: {secretKeyRef: {name: open, key: k}}}\ncaCertificateFrom: {configMapKeyRef: {name: private, key: k}}", theConfigMap,
	},
}

// references of all kinds that a policy checks.
func references() map[string]map[string]reference {
	const write = "vaultConfigRef: {name: main}\noperation: Write\nsecretPath: x\n"
	all := map[string]map[string]reference{
		"VaultConfig": {
			"tls.clientCertificateSecretRef": {
				"url: https://vault\nauth: {token: {secretKeyRef: {name: open, key: k}}}\ntls: {clientCertificateSecretRef: {name: private}}",
				"ask for the right to get Secret open and Secret private in this namespace",
			},
		},
		"Connection": {},
		"VaultTask": {
			"dataFrom[].secretRef":    {write + "dataFrom: [{secretRef: {name: private}}]", theSecret},
			"dataFrom[].configMapRef": {write + "dataFrom: [{configMapRef: {name: private}}]", theConfigMap},
			"serviceAccountName":      {write + "serviceAccountName: private\ndata: {a: b}", theAccount},
			"unwrap.secretKeyRef":     {write + "unwrap: {secretKeyRef: {name: private, key: k}}", theSecret},
			"connectionRef":           {"connectionRef: {name: private}\noperation: Read\nsecretPath: x", "without the right to create pods here"},
		},
	}
	for path, r := range byAuth {
		all["VaultConfig"][path] = reference{"url: https://vault\n" + r.spec, r.refusal}
		inline := "vault:\n  url: https://vault\n  " + strings.ReplaceAll(r.spec, "\n", "\n  ")
		all["VaultTask"]["vault."+path] = reference{inline + "\noperation: Read\nsecretPath: x", r.refusal}
	}
	return all
}

// notTheWriters are the references for which something else decides than the rights of whoever writes them.
var notTheWriters = map[string]map[string]string{
	"VaultConfig": {},
	"Connection": {
		"vaultSecrets[].vaultConfigRef": "whoever may write Connections may use the namespace's VaultConfigs; for those of another namespace their allowedNamespaces decide, at every use",
		"allowedServiceAccounts[]":      "it takes rights away and gives none",
	},
	"VaultTask": {
		"vaultConfigRef": "as for Connections, and taskOperations of allowedNamespaces besides",
	},
}

// referenceFields returns the paths in a spec of what names other objects: objects that have a name, and nothing but
// key and namespace beside it, and texts that are called after service accounts.
func referenceFields(schema apiextensionsv1.JSONSchemaProps, path string) []string {
	var found []string
	if schema.Items != nil && schema.Items.Schema != nil {
		return referenceFields(*schema.Items.Schema, path+"[]")
	}
	field := path[strings.LastIndex(path, ".")+1:]
	if schema.Type == "string" && strings.Contains(strings.ToLower(field), "serviceaccount") {
		return []string{path}
	}
	if _, named := schema.Properties["name"]; named && schema.Properties["name"].Type == "string" {
		rest := slices.DeleteFunc(slices.Collect(maps.Keys(schema.Properties)), func(name string) bool {
			return name == "name" || name == "key" || name == "namespace"
		})
		if len(rest) == 0 {
			return []string{path}
		}
	}
	for name, property := range schema.Properties {
		found = append(found, referenceFields(property, strings.TrimPrefix(path+"."+name, "."))...)
	}
	return found
}

// schemaOf returns what the CRD of a kind says of a part of it, spec or status.
func schemaOf(kind, part string) apiextensionsv1.JSONSchemaProps {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(root(), "config", "crd", "bases", "sallyport.dev_"+strings.ToLower(kind)+"s.yaml"))
	Expect(err).NotTo(HaveOccurred())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	Expect(yaml.Unmarshal(content, crd)).To(Succeed())
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[part]
}

var _ = Describe("References to other objects", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		grant(namespace, "mallory", may("secrets", "get", "open"))
		grant(namespace, "alice", may("secrets", "get", "open", "private"), may("configmaps", "get", "private"),
			may("serviceaccounts/token", "create", "private"), may("pods", "create"))
		Eventually(func() error { // until the grants have reached the authorizer
			return as("alice").Create(ctx, written("VaultTask", namespace, "probe", references()["VaultTask"]["connectionRef"].spec), client.DryRunAll)
		}).Should(Succeed())
		Eventually(func() error {
			return as("mallory").Create(ctx, written("VaultTask", namespace, "probe", "vaultConfigRef: {name: main}\noperation: List"), client.DryRunAll)
		}).Should(Succeed())
	})

	It("are all known to this suite: each field that names something is checked for its writer, or says who decides instead", func() {
		for kind, checked := range references() {
			known := append(slices.Collect(maps.Keys(checked)), slices.Collect(maps.Keys(notTheWriters[kind]))...)
			Expect(referenceFields(schemaOf(kind, "spec"), "")).To(ConsistOf(known), kind+": a new reference needs a rule in config/admission, and a row here")
		}
	})

	It("are for those who may use the objects themselves", func() {
		for kind, checked := range references() {
			for path, r := range checked {
				object := written(kind, namespace, "refers", r.spec)
				err := as("mallory").Create(ctx, object.DeepCopy(), client.DryRunAll)
				Expect(err).To(MatchError(ContainSubstring(r.refusal)), kind+" "+path)
				Expect(apierrors.IsForbidden(err)).To(BeTrue(), kind+" "+path)
				Expect(as("alice").Create(ctx, object.DeepCopy(), client.DryRunAll)).To(Succeed(), kind+" "+path)
			}
		}
	})

	It("to a service account are for those who may create that one's tokens, in the namespace of the VaultTask", func() {
		other := newNamespace()
		grant(namespace, "carol", may("serviceaccounts/token", "create", "public"))
		grant(other, "carol", may("serviceaccounts/token", "create"))
		task := func(account string) client.Object {
			return written("VaultTask", namespace, "as-"+account,
				"vaultConfigRef: {name: shared, namespace: "+other+"}\nserviceAccountName: "+account+"\noperation: List")
		}
		Eventually(func() error { return as("carol").Create(ctx, task("public"), client.DryRunAll) }).Should(Succeed())
		err := as("carol").Create(ctx, task("private"), client.DryRunAll)
		Expect(err).To(MatchError(ContainSubstring("you (carol) may not refer to a service account whose token you may not create yourself; " + theAccount)))
		Expect(apierrors.IsForbidden(err)).To(BeTrue())
	})

	It("are looked at again when a VaultTask is run again, and not when it is labelled", func() {
		for path, r := range references()["VaultTask"] {
			object := written("VaultTask", namespace, "again-"+strings.ToLower(strings.NewReplacer(".", "-", "[", "", "]", "").Replace(path)), r.spec)
			Expect(cp.Client.Create(ctx, object)).To(Succeed(), path)
			patch := func(user, body string) error {
				return as(user).Patch(ctx, object.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(body)))
			}
			const rerun = `{"metadata":{"annotations":{"sallyport.dev/rerun":"again"}}}`
			err := patch("mallory", rerun)
			Expect(err).To(MatchError(ContainSubstring(r.refusal)), path)
			Expect(apierrors.IsForbidden(err)).To(BeTrue(), path)
			Expect(patch("mallory", `{"metadata":{"labels":{"team":"shop"}}}`)).To(Succeed(), path)
			Expect(patch("alice", rerun)).To(Succeed(), path)
			Expect(patch("mallory", rerun)).To(Succeed(), path+": nothing changes, so nothing runs")
			Expect(patch("mallory", `{"metadata":{"annotations":{"sallyport.dev/rerun":null}}}`)).To(MatchError(ContainSubstring(r.refusal)), path)
		}
	})
})
