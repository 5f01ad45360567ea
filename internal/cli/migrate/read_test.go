package migrate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const class = `
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: a}
spec: {provider: vault, parameters: {roleName: r, objects: "- {objectName: a, secretPath: secret/a, secretKey: k}"}}
`

// failure is what reading and migrating a stream ends with.
func failure(t *testing.T, input string) error {
	t.Helper()
	in, err := Read([]string{"-"}, strings.NewReader(input), "")
	if err == nil {
		_, err = Migrate(t.Context(), in, options)
	}
	return err
}

func TestBadInputIsNamedWithItsCure(t *testing.T) {
	for name, row := range map[string]struct{ input, sentence string }{
		"an empty file":         {"", "standard input is empty: give a file with manifests"},
		"nothing but a comment": {"# nothing\n---\n", "standard input is empty: give a file with manifests"},
		"malformed YAML": {class + "---\na: [b", "standard input, document 2, is no YAML that Kubernetes takes: yaml: line 1: did not find expected " +
			"',' or ']'; correct it, or leave the file out"},
		"a list":        {"- a\n", "standard input, document 1, is no object of Kubernetes: it has no apiVersion or no kind; correct it, or leave the file out"},
		"no kind":       {"apiVersion: v1\n", "standard input, document 1, is no object of Kubernetes: it has no apiVersion or no kind; correct it, or leave the file out"},
		"no name":       {"apiVersion: v1\nkind: Secret\n", "standard input, document 1: the Secret has no metadata.name; give it one"},
		"an empty item": {"apiVersion: v1\nkind: List\nitems: [a]\n", "standard input, document 1, is no object of Kubernetes: it has no apiVersion or no kind; correct it, or leave the file out"},
		"other kinds": {"apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
			"there is nothing to migrate among Service shop/a, ConfigMap b; what can be migrated is SecretProviderClass"},
		"an empty list": {"apiVersion: v1\nkind: List\nitems: []\n", "there is nothing to migrate: the input has no objects; give manifests with -f"},
	} {
		t.Run(name, func(t *testing.T) {
			err := failure(t, row.input)
			g := NewWithT(t)
			g.Expect(err).To(MatchError(HavePrefix(row.sentence)))
			g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
		})
	}
}

func TestFilesOfADirectoryAreRead(t *testing.T) {
	g, dir := NewWithT(t), t.TempDir()
	_, err := Read([]string{dir}, nil, "")
	g.Expect(err).To(MatchError("directory " + dir + " has no .yaml, .yml or .json: give the directory of the manifests with -f"))
	_, err = Read([]string{filepath.Join(dir, "x")}, nil, "")
	g.Expect(err).To(MatchError("cannot read -f " + filepath.Join(dir, "x") + ": no such file or directory"))
	g.Expect(os.MkdirAll(filepath.Join(dir, "base"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "base", "class.yml"), []byte(class), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "README.md"), []byte("# no: [manifest"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "base", "kustomization.yaml"), []byte("resources: [class.yml]\n"), 0o600)).To(Succeed())
	in, err := Read([]string{dir}, nil, "shop")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(in.objects).To(HaveLen(1))
	g.Expect(in.objects[0].GetNamespace()).To(Equal("shop"))
}

func TestTheMountPathEndsBeforeAWordOfTheAPI(t *testing.T) {
	for path, want := range map[string][]any{
		"secret/data/a/b":         {"secret", "data/a/b", true},
		"/team/kv/data/a":         {"team/kv", "data/a", true},
		"database/creds/app":      {"database", "creds/app", true},
		"pki/int/issue/app":       {"pki/int", "issue/app", true},
		"secret/a":                {"secret", "a", true},
		"secret/a/b":              {"secret", "a/b", false},
		"secret":                  {"", "secret", false},
		"secret/data":             {"secret", "data", true},
		"aws/sts/role":            {"aws", "sts/role", true},
		"database/static-creds/a": {"database", "static-creds/a", true},
	} {
		engine, rest, sure := split(path)
		NewWithT(t).Expect([]any{engine, rest, sure}).To(Equal(want), path)
	}
}

// What a cluster has is read of every kind with a pod template. What is made by kinds that are not read is reported.
func TestNoWorkloadOfAClusterIsLeftOutWithoutAWord(t *testing.T) {
	g := NewWithT(t)
	content, err := os.ReadFile("testdata/vault-secrets-operator/kinds.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	given, err := Read([]string{"-"}, strings.NewReader(string(content)), "")
	g.Expect(err).NotTo(HaveOccurred())
	var objects []client.Object
	var versions []schema.GroupVersion
	for _, object := range given.objects {
		objects, versions = append(objects, object), append(versions, object.GroupVersionKind().GroupVersion())
	}
	mapper := meta.NewDefaultRESTMapper(versions)
	for _, object := range given.objects {
		mapper.Add(object.GroupVersionKind(), meta.RESTScopeNamespace)
	}
	made := given.objects[len(given.objects)-3].DeepCopy() // any with a pod template
	made.SetAPIVersion("v1")
	made.SetKind("Pod")
	made.SetName("odd-1")
	made.Object["spec"], _, _ = unstructured.NestedFieldCopy(made.Object, "template", "spec")
	made.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "kruise.io/v1", Kind: "CloneSet", Name: "odd", Controller: new(true)}})
	objects = append(objects, made)
	forbidden := false
	c := fake.NewClientBuilder().WithRESTMapper(mapper).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, of ...client.ListOption) error {
			if kind := list.GetObjectKind().GroupVersionKind(); forbidden && kind.Group == rolloutOfArgo.Group {
				return apierrors.NewForbidden(schema.GroupResource{Group: kind.Group, Resource: "rollouts"}, "", nil)
			}
			return c.List(ctx, list, of...)
		},
	}).Build()
	migrated := func() (kinds, lost []string) {
		in, err := FromCluster(t.Context(), c, "shop")
		g.Expect(err).NotTo(HaveOccurred())
		result, err := Migrate(t.Context(), in, options)
		g.Expect(err).NotTo(HaveOccurred())
		for _, w := range result.Workloads {
			kinds = append(kinds, w.kind)
		}
		for _, note := range result.Notes {
			if note.Severity == NoEqual {
				lost = append(lost, note.Object+", "+note.Field)
			}
		}
		return kinds, lost
	}

	kinds, lost := migrated()
	builtIn := []string{
		"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod",
	}
	g.Expect(kinds).To(ConsistOf(append(builtIn, "Rollout")))
	g.Expect(lost).To(ConsistOf("CloneSet shop/odd, its Pod.spec.volumes[0].secret"))

	forbidden = true
	kinds, lost = migrated()
	g.Expect(kinds).To(ConsistOf(builtIn))
	g.Expect(lost).To(ConsistOf("CloneSet shop/odd, its Pod.spec.volumes[0].secret", "every Rollout, "))
}

// Which VaultAuth and which VaultConnection count where none is named, the operator's installation knows.
func TestWhatTheOperatorsInstallationKnowsIsAskedFor(t *testing.T) {
	const secret = "{apiVersion: secrets.hashicorp.com/v1beta1, kind: VaultStaticSecret, metadata: {name: a, namespace: shop}, " +
		"spec: {mount: kv, path: a, destination: {name: a}}}\n"
	const auth = "---\n{apiVersion: secrets.hashicorp.com/v1beta1, kind: VaultAuth, metadata: {name: default, namespace: shop}, " +
		"spec: {method: kubernetes, kubernetes: {role: r, serviceAccount: s, audiences: [vault]}}}\n"
	migrated := func(input string, clustered bool, of Options) *Result {
		in, err := Read([]string{"-"}, strings.NewReader(input), "")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		if clustered {
			in.get = func(context.Context, schema.GroupKind, key) (*unstructured.Unstructured, error) { return nil, nil }
		}
		result, err := Migrate(t.Context(), in, of)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return result
	}
	const cure = "its manifest with -f, too (kubectl get vaultauth,vaultconnection,vaultauthglobal -n vault-secrets-operator-system -o yaml), " +
		"or name another one here"
	g := NewWithT(t)
	g.Expect(migrated(secret, false, options).Notes).To(HaveExactElements(Note{NoEqual, "VaultStaticSecret shop/a", "spec.vaultAuthRef",
		`it is left out, which means the VaultAuth "default" of the Vault Secrets Operator's own namespace, and that is not among the manifests: give ` + cure}))
	g.Expect(migrated(secret, true, options).Notes[0].Sentence).To(ContainSubstring("that is not in the cluster, or you may not see it: give its manifest with -f"))

	r := migrated(secret+auth, false, Options{})
	g.Expect(r.Configs).To(BeEmpty())
	g.Expect(r.Notes).To(HaveExactElements(Note{NoEqual, "VaultAuth shop/default", "spec.vaultConnectionRef",
		`it is left out, which means the VaultConnection "default" of the Vault Secrets Operator's own namespace, and that is not among the manifests: ` +
			"give Vault's address with --vault-url, or " + cure}))
	r = migrated(secret+auth, false, options)
	g.Expect(r.Lossy()).To(BeFalse())
	g.Expect(r.Configs).To(HaveExactElements(HaveField("Spec.URL", options.VaultURL)))
}

func TestModesThatLookLikeSlipsAreWrittenWithoutTheRightToWrite(t *testing.T) {
	for mode, made := range map[int64]int32{0o620: 0o600, 0o624: 0o604, 0o670: 0o650, 0o674: 0o654, 0o400: 0o400, 0o664: 0o664, 0o755: 0o755} {
		NewWithT(t).Expect(*fileMode(mode)).To(Equal(made), "%o", mode)
	}
}
