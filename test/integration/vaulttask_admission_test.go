package integration

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// fromYAML is a VaultTask whose spec is written as its user writes it.
func fromYAML(namespace, name, spec string) *unstructured.Unstructured {
	GinkgoHelper()
	object := map[string]any{}
	Expect(yaml.Unmarshal([]byte(spec), &object)).To(Succeed())
	u := &unstructured.Unstructured{Object: map[string]any{"spec": object}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("VaultTask"))
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

var _ = Describe("A VaultTask that makes no sense", func() {
	const (
		main  = "vaultConfigRef: {name: main}\n"
		age   = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
		data  = "data: {a: b}\n"
		write = main + "operation: Write\nsecretPath: x\n"
	)

	DescribeTable("is rejected at admission, with the cure",
		func(message, spec string) {
			err := cp.Client.Create(ctx, fromYAML("default", "bad", spec), client.DryRunAll)
			Expect(err).To(MatchError(ContainSubstring(message)))
		},
		Entry("no target", "vaultConfigRef", "operation: Read\nsecretPath: x"),
		Entry("two targets", "vaultConfigRef", main+"connectionRef: {name: c}\noperation: Read\nsecretPath: x"),
		Entry("no operation", "spec.operation", main+"secretPath: x"),
		Entry("an unknown operation", "Unsupported value", main+"operation: Burn\nsecretPath: x"),
		Entry("Read without a path", "operation Read needs secretPath", main+"operation: Read"),
		Entry("Read with data", "remove data", main+"operation: Read\nsecretPath: x\n"+data),
		Entry("Read with cas", "remove cas", main+"operation: Read\nsecretPath: x\ncas: 1"),
		Entry("Read with versions", "remove versions", main+"operation: Read\nsecretPath: x\nversions: [1]"),
		Entry("Read with path", "remove path", main+"operation: Read\nsecretPath: x\npath: other"),
		Entry("Read with metadata", "add or remove metadata", main+"operation: Read\nsecretPath: x\nmetadata: {maxVersions: 1}"),
		Entry("Read with overwrite", "remove overwrite", main+"operation: Read\nsecretPath: x\noverwrite: true"),
		Entry("Read with removeKeys", "remove removeKeys", main+"operation: Read\nsecretPath: x\nremoveKeys: [a]"),
		Entry("Write without anything", "operation Write needs something to write", write),
		Entry("Write with version", "remove version", write+data+"version: 1"),
		Entry("Write with removeKeys", "remove removeKeys", write+data+"removeKeys: [a]"),
		Entry("Write with allVersions", "remove allVersions", write+data+"allVersions: true"),
		Entry("Write without a path", "operation Write needs secretPath", main+"operation: Write\n"+data),
		Entry("a data key that is no string", "must be of type string", write+"data: {port: 1521}"),
		Entry("a value of more than 512 KiB", "Too long", write+"data: {a: "+strings.Repeat("x", 1<<20)+"}"),
		Entry("overwrite without generate", "remove overwrite", write+data+"overwrite: true"),
		Entry("overwrite and cas", "remove overwrite or cas", write+"generate: [{key: a}]\noverwrite: true\ncas: 1"),
		Entry("a password policy and a length", "remove length and charset", write+"generate: [{key: a, passwordPolicy: p, length: 9}]"),
		Entry("a generated key twice", "Duplicate value", write+"generate: [{key: a}, {key: a}]"),
		Entry("dataFrom of nothing", "secretRef", write+"dataFrom: [{keys: [a]}]"),
		Entry("dataFrom of two", "secretRef", write+"dataFrom: [{secretRef: {name: a}, configMapRef: {name: b}}]"),
		Entry("Patch without anything", "operation Patch needs something to change", main+"operation: Patch\nsecretPath: x"),
		Entry("Patch with cas 0", "cas must be at least 1", main+"operation: Patch\nsecretPath: x\ncas: 0\n"+data),
		Entry("Patch of KV version 1", "needs a KV version 2 engine", main+"operation: Patch\nsecretPath: x\nkvVersion: V1\n"+data),
		Entry("List with data", "remove data", main+"operation: List\n"+data),
		Entry("List with result", "remove result", main+"operation: List\nresult: {sealTo: "+age+"}"),
		Entry("Delete with allVersions", "remove allVersions", main+"operation: Delete\nsecretPath: x\nallVersions: true"),
		Entry("Delete with cas", "remove cas", main+"operation: Delete\nsecretPath: x\ncas: 1"),
		Entry("Delete with result", "remove result", main+"operation: Delete\nsecretPath: x\nresult: {sealTo: "+age+"}"),
		Entry("version 0", "should be greater than or equal to 1", main+"operation: Delete\nsecretPath: x\nversions: [0]"),
		Entry("Undelete without versions", "operation Undelete needs versions", main+"operation: Undelete\nsecretPath: x"),
		Entry("Undelete with generate", "remove generate", main+"operation: Undelete\nsecretPath: x\nversions: [1]\ngenerate: [{key: a}]"),
		Entry("Destroy without versions", "either versions", main+"operation: Destroy\nsecretPath: x"),
		Entry("Destroy with both", "either versions", main+"operation: Destroy\nsecretPath: x\nversions: [1]\nallVersions: true"),
		Entry("Destroy with unwrap", "remove unwrap", main+"operation: Destroy\nsecretPath: x\nallVersions: true\nunwrap: {secretKeyRef: {name: a, key: b}}"),
		Entry("ReadMetadata with version", "remove version", main+"operation: ReadMetadata\nsecretPath: x\nversion: 1"),
		Entry("WriteMetadata without metadata", "add or remove metadata", main+"operation: WriteMetadata\nsecretPath: x"),
		Entry("WriteMetadata with removeCustomMetadata", "replaces all custom metadata",
			main+"operation: WriteMetadata\nsecretPath: x\nmetadata: {removeCustomMetadata: [a]}"),
		Entry("WriteMetadata with dataFrom", "remove dataFrom",
			main+"operation: WriteMetadata\nsecretPath: x\nmetadata: {maxVersions: 1}\ndataFrom: [{secretRef: {name: a}}]"),
		Entry("PatchMetadata without metadata", "add or remove metadata", main+"operation: PatchMetadata\nsecretPath: x"),
		Entry("PatchMetadata with empty metadata", "at least 1 properties", main+"operation: PatchMetadata\nsecretPath: x\nmetadata: {}"),
		Entry("DeleteMetadata with versions", "remove versions", main+"operation: DeleteMetadata\nsecretPath: x\nversions: [1]"),
		Entry("DeleteMetadata without a path", "operation DeleteMetadata needs secretPath", main+"operation: DeleteMetadata"),
		Entry("GenericRead without a path", "operation GenericRead needs path", main+"operation: GenericRead"),
		Entry("GenericRead with secretPath", "remove enginePath, secretPath and kvVersion", main+"operation: GenericRead\npath: x\nsecretPath: other"),
		Entry("GenericRead with data", "remove data", main+"operation: GenericRead\npath: x\n"+data),
		Entry("GenericWrite with cas", "remove cas", main+"operation: GenericWrite\npath: x\ncas: 1"),
		Entry("GenericWrite with generate", "needs overwrite: true", main+"operation: GenericWrite\npath: x\ngenerate: [{key: a}]"),
		Entry("GenericList with result", "remove result", main+"operation: GenericList\npath: x\nresult: {sealTo: "+age+"}"),
		Entry("GenericDelete with data", "remove data", main+"operation: GenericDelete\npath: x\n"+data),
		Entry("an age recipient that is none", "as age-keygen prints it", main+"operation: Read\nsecretPath: x\nresult: {sealTo: ssh-ed25519 AAAA}"),
		Entry("wrap and sealTo", "sealTo", main+"operation: Read\nsecretPath: x\nresult: {sealTo: "+age+", wrap: {ttl: 1m}}"),
		Entry("a wrap of a day and more", "between 10s and 24h", main+"operation: Read\nsecretPath: x\nresult: {wrap: {ttl: 25h}}"),
		Entry("wrap without a VaultConfig", "use result.sealTo",
			"connectionRef: {name: c}\noperation: Read\nsecretPath: x\nresult: {wrap: {ttl: 1m}}"),
		Entry("a schedule with cas", "remove cas or schedule", write+data+"cas: 1\nschedule: {cron: '@daily'}"),
		Entry("a schedule with a wrapping token", "remove schedule or unwrap",
			write+"unwrap: {secretKeyRef: {name: a, key: b}}\nschedule: {cron: '@daily'}"),
		Entry("a schedule that generates once", "generate with schedule needs overwrite", write+"generate: [{key: a}]\nschedule: {cron: '@daily'}"),
		Entry("a schedule that finishes", "remove ttlSecondsAfterFinished", write+data+"ttlSecondsAfterFinished: 1\nschedule: {cron: '@daily'}"),
		Entry("a schedule with a zone in cron", "remove TZ=", write+data+"schedule: {cron: 'TZ=UTC 0 0 * * *'}"),
		Entry("a service account of another Vault than a VaultConfig's", "set vaultConfigRef, or remove serviceAccountName",
			"connectionRef: {name: c}\nserviceAccountName: app\noperation: Read\nsecretPath: x"),
		Entry("a service account with its namespace", "without the namespace", main+"serviceAccountName: shop/app\noperation: Read\nsecretPath: x"),
		Entry("an inline Vault without auth", "spec.vault.auth", "vault: {url: https://vault}\noperation: Read\nsecretPath: x"),
	)

	It("is no reason to reject one that does", func() {
		for _, spec := range []string{
			main + "operation: List",
			main + "serviceAccountName: app.v1\noperation: List",
			main + "operation: GenericWrite\npath: transit/keys/a/rotate",
			"connectionRef: {name: c}\noperation: Read",
			write + "generate: [{key: a, length: 20, charset: abc}]\noverwrite: true\nschedule: {cron: '0 3 * * *', timeZone: Europe/Berlin}",
			main + "operation: PatchMetadata\nsecretPath: x\nmetadata: {removeCustomMetadata: [a], maxVersions: 5, casRequired: true, deleteVersionAfter: 1h}",
			main + "operation: Destroy\nsecretPath: x\nallVersions: true",
		} {
			Expect(cp.Client.Create(ctx, fromYAML("default", "good", spec), client.DryRunAll)).To(Succeed(), spec)
		}
	})

	It("is over 1 MiB", func() {
		values := map[string]v1alpha1.TaskValue{}
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g"} {
			values[key] = v1alpha1.TaskValue(strings.Repeat("x", 1<<19))
		}
		Expect(cp.Client.Create(ctx, builder.VaultTask("default", "big", v1alpha1.OperationWrite, "x", builder.WithData(values)))).NotTo(Succeed())
	})
})

var _ = Describe("A user who writes a VaultTask", func() {
	It("must be allowed to use what it refers to", func() {
		namespace := newNamespace()
		grant := func(name string, rules ...rbacv1.PolicyRule) {
			create(
				&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules},
				&rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
					Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
				},
			)
		}
		writer := rbacv1.PolicyRule{APIGroups: []string{"sallyport.dev"}, Resources: []string{"vaulttasks"}, Verbs: []string{"create", "get", "update"}}
		grant("task-mallory", writer)
		grant("task-alice", writer,
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token", "pods"}, Verbs: []string{"create"}})

		fromSecret := func(t *v1alpha1.VaultTask) {
			t.Spec.DataFrom = []v1alpha1.TaskDataSource{{SecretRef: &v1alpha1.LocalReference{Name: "private"}}}
		}
		unwraps := func(t *v1alpha1.VaultTask) {
			t.Spec.Unwrap = &v1alpha1.WrappingTokenSource{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "wrapped", Key: "token"}}
		}
		inline := func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{URL: vault.URL(), Auth: vault.Config(namespace, "x").Spec.Auth}}
		}
		account := func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{URL: vault.URL(), Auth: v1alpha1.VaultAuth{
				Kubernetes: &v1alpha1.ServiceAccountAuth{Role: "shop", ServiceAccountName: "shop"},
			}}}
		}
		itself := func(t *v1alpha1.VaultTask) { t.Spec.ServiceAccountName = "shop" }
		connected := func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: "vault"}}
		}
		suspended := func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) }
		for name, refused := range map[string]struct {
			mutate  func(*v1alpha1.VaultTask)
			message string
		}{
			"from":      {fromSecret, "ask for the right to get Secret private in this namespace"},
			"unwraps":   {unwraps, "ask for the right to get Secret wrapped in this namespace"},
			"inline":    {inline, "ask for the right to get Secret vault-token in this namespace"},
			"account":   {account, "ask for the right to create serviceaccounts/token of shop in this namespace"},
			"itself":    {itself, "ask for the right to create serviceaccounts/token of shop in this namespace"},
			"connected": {connected, "without the right to create pods"},
		} {
			t := builder.VaultTask(namespace, name, v1alpha1.OperationWrite, "x", suspended, refused.mutate)
			if t.Spec.DataFrom == nil && t.Spec.Unwrap == nil {
				t.Spec.Data = map[string]v1alpha1.TaskValue{"a": "b"}
			}
			Eventually(func() error { return as("task-mallory", "").Create(ctx, t.DeepCopy()) }).
				Should(MatchError(ContainSubstring(refused.message)), name)
			Eventually(func() error { return as("task-alice", "").Create(ctx, t) }).Should(Succeed(), name)
		}
		By("while one that refers to nothing needs no such right")
		plain := builder.VaultTask(namespace, "plain", v1alpha1.OperationRead, "x", suspended)
		Expect(as("task-mallory", "").Create(ctx, plain)).To(Succeed())
	})

	It("is an admin of the namespace; edit may not, view may look", func() {
		namespace := newNamespace()
		for _, role := range []string{"admin", "edit", "view"} {
			create(&rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sallyport-" + role},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "task-" + role}},
			})
		}
		t := builder.VaultTask(namespace, "mine", v1alpha1.OperationRead, "x", func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })
		Eventually(func() error { return as("task-admin", "").Create(ctx, t.DeepCopy()) }).Should(Succeed())
		Eventually(func() error {
			return as("task-view", "").Get(ctx, client.ObjectKeyFromObject(t), &v1alpha1.VaultTask{})
		}).Should(Succeed())
		for _, user := range []string{"task-edit", "task-view"} {
			other := t.DeepCopy()
			other.Name = user
			Expect(as(user, "").Create(ctx, other)).To(MatchError(ContainSubstring("forbidden")))
			Expect(as(user, "").Delete(ctx, t.DeepCopy())).To(MatchError(ContainSubstring("forbidden")))
		}
	})
})
