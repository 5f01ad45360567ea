package integration

import (
	"fmt"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// taskConfig gives a namespace a VaultConfig "main" whose token may do everything in Vault.
func taskConfig(namespace string, mutate ...func(*v1alpha1.VaultConfig)) {
	GinkgoHelper()
	tokenSecret(namespace, env.TokenOptions{Policies: []string{"everything"}})
	config := vault.Config(namespace, "main", mutate...)
	create(config)
	expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

var _ = Describe("The operations of VaultTasks", func() {
	var (
		namespace string
		number    int
	)

	BeforeEach(func() {
		namespace = newNamespace()
		taskConfig(namespace, func(c *v1alpha1.VaultConfig) {
			c.Spec.AllowedSystemPaths = []string{"sys/mounts/" + namespace}
		})
	})

	// do runs a task to its end.
	do := func(operation v1alpha1.VaultTaskOperation, path string, mutate ...func(*v1alpha1.VaultTask)) *v1alpha1.TaskResult {
		GinkgoHelper()
		number++
		t := builder.VaultTask(namespace, fmt.Sprintf("task-%d", number), operation, path, mutate...)
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		return t.Status.Result
	}
	// refused runs a task that fails.
	refused := func(reason, sentence string, operation v1alpha1.VaultTaskOperation, path string, mutate ...func(*v1alpha1.VaultTask)) {
		GinkgoHelper()
		number++
		t := builder.VaultTask(namespace, fmt.Sprintf("task-%d", number), operation, path, mutate...)
		create(t)
		expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, reason, ContainSubstring(sentence))
	}
	in := func(engine string) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) { t.Spec.EnginePath = engine }
	}
	versions := func(numbers ...int64) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) { t.Spec.Versions = numbers }
	}
	about := func(metadata v1alpha1.SecretMetadataSpec) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) { t.Spec.Metadata = &metadata }
	}
	metadata := func(path string) *vaultapi.KVMetadata {
		GinkgoHelper()
		m, err := vault.Client().KVv2("secret").GetMetadata(ctx, path)
		Expect(err).NotTo(HaveOccurred())
		return m
	}

	It("do all that KV version 2 can", func() {
		path := namespace + "/db"
		Expect(do(v1alpha1.OperationWrite, path, builder.WithData(map[string]v1alpha1.TaskValue{"user": "scott", "old": "x"})).Version).To(BeEquivalentTo(1))

		By("patching some keys and removing others")
		patched := do(v1alpha1.OperationPatch, path, builder.WithData(map[string]v1alpha1.TaskValue{"host": "db"}),
			func(t *v1alpha1.VaultTask) { t.Spec.RemoveKeys = []string{"old"} })
		Expect(patched.Version).To(BeEquivalentTo(2))
		Expect(patched.Keys).To(Equal([]string{"host"}))
		secret, err := vault.Client().KVv2("secret").Get(ctx, path)
		Expect(err).NotTo(HaveOccurred())
		Expect(secret.Data).To(Equal(map[string]any{"user": "scott", "host": "db"}))
		refused(v1alpha1.ReasonSecretNotFound, "no secret at secret/"+namespace+"/none to patch", v1alpha1.OperationPatch, namespace+"/none",
			builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))

		By("listing")
		Expect(do(v1alpha1.OperationList, namespace).Keys).To(Equal([]string{"db"}))
		Expect(do(v1alpha1.OperationList, "").Keys).To(ContainElement(namespace + "/"))
		refused(v1alpha1.ReasonSecretNotFound, "nothing in this folder", v1alpha1.OperationList, namespace+"/none")

		By("deleting the latest version, and then others by their numbers")
		Expect(do(v1alpha1.OperationDelete, path).Versions).To(Equal([]int64{2}))
		Expect(metadata(path).Versions["2"].DeletionTime).NotTo(BeZero())
		Expect(metadata(path).Versions["1"].DeletionTime).To(BeZero())
		do(v1alpha1.OperationDelete, path, versions(1))
		refused(v1alpha1.ReasonSecretNotFound, "deleted at", v1alpha1.OperationRead, path)
		refused(v1alpha1.ReasonSecretNotFound, "has no version 7, the versions that it keeps are 1 to 2", v1alpha1.OperationDelete, path, versions(7))

		By("bringing them back")
		do(v1alpha1.OperationUndelete, path, versions(1, 2))
		Expect(metadata(path).Versions["1"].DeletionTime).To(BeZero())
		Expect(do(v1alpha1.OperationRead, path).Version).To(BeEquivalentTo(2))

		By("destroying one for good, and then all")
		do(v1alpha1.OperationDestroy, path, versions(1))
		Expect(metadata(path).Versions["1"].Destroyed).To(BeTrue())
		Expect(metadata(path).Versions["2"].Destroyed).To(BeFalse())
		refused(v1alpha1.ReasonSecretNotFound, "was destroyed", v1alpha1.OperationRead, path, func(t *v1alpha1.VaultTask) { t.Spec.Version = new(int64(1)) })
		Expect(do(v1alpha1.OperationDestroy, path, func(t *v1alpha1.VaultTask) { t.Spec.AllVersions = new(true) }).Versions).To(Equal([]int64{1, 2}))
		Expect(metadata(path).Versions["2"].Destroyed).To(BeTrue())

		By("setting metadata")
		do(v1alpha1.OperationWriteMetadata, path, about(v1alpha1.SecretMetadataSpec{
			CustomMetadata: map[string]v1alpha1.MetadataValue{"owner": "team-a", "stage": "prod"}, MaxVersions: new(int64(5)), CASRequired: new(true),
			DeleteVersionAfter: &metav1.Duration{Duration: 48 * time.Hour},
		}))
		do(v1alpha1.OperationPatchMetadata, path, about(v1alpha1.SecretMetadataSpec{
			CustomMetadata: map[string]v1alpha1.MetadataValue{"owner": "team-b"}, RemoveCustomMetadata: []string{"stage"}, CASRequired: new(false),
		}))
		read := do(v1alpha1.OperationReadMetadata, path)
		Expect(read.Path).To(Equal("secret/metadata/" + path))
		Expect(read.Metadata.CustomMetadata).To(Equal(map[string]string{"owner": "team-b"}))
		Expect(read.Metadata.MaxVersions).To(BeEquivalentTo(5))
		Expect(read.Metadata.CASRequired).To(BeFalse())
		Expect(read.Metadata.DeleteVersionAfter.Duration).To(Equal(48 * time.Hour))
		By("telling the history of versions with it")
		Expect(read.Metadata.CurrentVersion).To(BeEquivalentTo(2))
		Expect(read.Metadata.Versions).To(HaveLen(2))
		Expect(read.Metadata.Versions[0]).To(And(HaveField("Version", BeEquivalentTo(2)), HaveField("Destroyed", true)))

		By("removing it all")
		do(v1alpha1.OperationDeleteMetadata, path)
		_, err = vault.Client().KVv2("secret").GetMetadata(ctx, path)
		Expect(err).To(HaveOccurred())
		refused(v1alpha1.ReasonSecretNotFound, "no secret at this path", v1alpha1.OperationDeleteMetadata, path)
	})

	It("do what KV version 1 can, and say so of the rest", func() {
		kv1 := in("kv")
		path := namespace + "/db"
		Expect(do(v1alpha1.OperationWrite, path, kv1, builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"})).Path).To(Equal("kv/" + path))
		Expect(do(v1alpha1.OperationRead, path, kv1).Keys).To(Equal([]string{"a"}))
		Expect(do(v1alpha1.OperationList, namespace, kv1).Keys).To(Equal([]string{"db"}))
		refused(v1alpha1.ReasonInvalidRequest, "cannot patch", v1alpha1.OperationPatch, path, kv1, builder.WithData(map[string]v1alpha1.TaskValue{"a": "2"}))
		refused(v1alpha1.ReasonInvalidRequest, "has no check-and-set", v1alpha1.OperationWrite, path, kv1, builder.WithData(map[string]v1alpha1.TaskValue{"a": "2"}),
			func(t *v1alpha1.VaultTask) { t.Spec.CAS = new(int64(0)) })
		refused(v1alpha1.ReasonInvalidRequest, "keeps no versions", v1alpha1.OperationDelete, path, kv1, versions(1))
		refused(v1alpha1.ReasonInvalidRequest, "KV version 1", v1alpha1.OperationUndelete, path, kv1, versions(1))
		refused(v1alpha1.ReasonInvalidRequest, "KV version 1", v1alpha1.OperationReadMetadata, path, kv1)
		refused(v1alpha1.ReasonCASMismatch, "generated values replace nothing", v1alpha1.OperationWrite, path, kv1,
			func(t *v1alpha1.VaultTask) { t.Spec.Generate = []v1alpha1.GeneratedValue{{Key: "a"}} })
		do(v1alpha1.OperationDelete, path, kv1)
		refused(v1alpha1.ReasonSecretNotFound, "no secret at this path", v1alpha1.OperationRead, path, kv1)
	})

	It("list the folder that is meant, whatever its name", func() {
		stated := func(version v1alpha1.KVVersion) func(*v1alpha1.VaultTask) {
			return func(t *v1alpha1.VaultTask) { t.Spec.KVVersion = version }
		}
		for version, engine := range map[string]string{"1": "one-" + namespace, "2": "two-" + namespace} {
			Expect(vault.Client().Sys().MountWithContext(ctx, engine, &vaultapi.MountInput{Type: "kv", Options: map[string]string{"version": version}})).To(Succeed())
			for _, folder := range []string{"data", "metadata"} {
				do(v1alpha1.OperationWrite, folder+"/"+folder+"/in-"+folder, in(engine), builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"}))
			}
		}

		By("in KV version 1, where data and metadata are folders as any other")
		one := in("one-" + namespace)
		Expect(do(v1alpha1.OperationList, "", one).Keys).To(Equal([]string{"data/", "metadata/"}))
		for _, folder := range []string{"data", "metadata"} {
			for _, more := range []func(*v1alpha1.VaultTask){stated(""), stated(v1alpha1.KVVersion1)} {
				listed := do(v1alpha1.OperationList, folder, one, more)
				Expect(listed.Path).To(Equal("one-" + namespace + "/" + folder))
				Expect(listed.Keys).To(Equal([]string{folder + "/"}))
			}
			Expect(do(v1alpha1.OperationList, folder+"/"+folder, one).Keys).To(Equal([]string{"in-" + folder}))
			Expect(do(v1alpha1.OperationGenericList, "one-"+namespace+"/"+folder).Keys).To(Equal([]string{folder + "/"}))
		}

		By("in KV version 2, where data is the top and data/data a folder")
		two := in("two-" + namespace)
		Expect(do(v1alpha1.OperationList, "", two).Keys).To(Equal([]string{"data/", "metadata/"}))
		Expect(do(v1alpha1.OperationList, "data", two)).To(And(HaveField("Path", "two-"+namespace+"/metadata"), HaveField("Keys", HaveLen(2))))
		Expect(do(v1alpha1.OperationList, "data/data", two, stated(v1alpha1.KVVersion2)).Keys).To(Equal([]string{"in-data"}))
		Expect(do(v1alpha1.OperationList, "metadata", two).Keys).To(Equal([]string{"metadata/"}))

		By("and not what lies at the same path of another version")
		waits := func(name string, more ...func(*v1alpha1.VaultTask)) {
			GinkgoHelper()
			t := builder.VaultTask(namespace, name, v1alpha1.OperationList, "metadata", more...)
			create(t)
			expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidRequest, ContainSubstring("leave out kvVersion"))
		}
		waits("two-in-one", one, stated(v1alpha1.KVVersion2))
		waits("one-in-two", two, stated(v1alpha1.KVVersion1))
	})

	It("act on any other engine by its path", func() {
		transit := "transit-" + namespace
		Expect(vault.Client().Sys().MountWithContext(ctx, transit, &vaultapi.MountInput{Type: "transit"})).To(Succeed())
		do(v1alpha1.OperationGenericWrite, transit+"/keys/shop")
		do(v1alpha1.OperationGenericWrite, transit+"/keys/shop/rotate")
		key, err := vault.Client().Logical().ReadWithContext(ctx, transit+"/keys/shop")
		Expect(err).NotTo(HaveOccurred())
		Expect(key.Data["keys"]).To(HaveLen(2))
		encrypted := do(v1alpha1.OperationGenericWrite, transit+"/encrypt/shop", builder.WithData(map[string]v1alpha1.TaskValue{"plaintext": "c2VjcmV0"}))
		Expect(encrypted.Keys).To(ContainElement("ciphertext"))
		Expect(do(v1alpha1.OperationGenericRead, transit+"/keys/shop").Keys).To(ContainElement("latest_version"))
		Expect(do(v1alpha1.OperationGenericList, transit+"/keys").Keys).To(Equal([]string{"shop"}))

		pki := "pki-" + namespace
		Expect(vault.Client().Sys().MountWithContext(ctx, pki, &vaultapi.MountInput{Type: "pki"})).To(Succeed())
		do(v1alpha1.OperationGenericWrite, pki+"/root/generate/internal", builder.WithData(map[string]v1alpha1.TaskValue{"common_name": "shop"}))
		do(v1alpha1.OperationGenericWrite, pki+"/roles/web", builder.WithData(map[string]v1alpha1.TaskValue{"allow_any_name": "true"}))
		issued := do(v1alpha1.OperationGenericWrite, pki+"/issue/web", builder.WithData(map[string]v1alpha1.TaskValue{"common_name": "web.shop", "ttl": "1h"}))
		Expect(issued.Keys).To(ContainElements("certificate", "private_key"))
		do(v1alpha1.OperationGenericDelete, pki+"/roles/web")
		refused(v1alpha1.ReasonSecretNotFound, "404", v1alpha1.OperationGenericRead, pki+"/roles/web")
		refused(v1alpha1.ReasonInvalidRequest, "400", v1alpha1.OperationGenericWrite, transit+"/encrypt/shop", builder.WithData(map[string]v1alpha1.TaskValue{"plaintext": "%"}))

		By("and say that KV operations need a KV engine")
		refused(v1alpha1.ReasonInvalidRequest, "is not KV", v1alpha1.OperationRead, "keys/shop", in(transit))
	})

	It("leave Vault's own paths alone, unless the VaultConfig allows one", func() {
		for _, path := range []string{"sys/policies/acl/everything", "auth/token/lookup-self", "identity/entity/name/x", "cubbyhole/x", "team/sys/policies/acl/x"} {
			number++
			t := builder.VaultTask(namespace, fmt.Sprintf("task-%d", number), v1alpha1.OperationGenericRead, path)
			create(t)
			expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPathNotAllowed, ContainSubstring("spec.allowedSystemPaths"))
		}
		do(v1alpha1.OperationGenericWrite, "sys/mounts/"+namespace, builder.WithData(map[string]v1alpha1.TaskValue{"type": "kv"}))
		Expect(do(v1alpha1.OperationGenericRead, "sys/mounts/"+namespace+"/tune").Keys).To(ContainElement("default_lease_ttl"))
		refused(v1alpha1.ReasonInvalidSpec, `holds ".."`, v1alpha1.OperationGenericRead, "transit/../x")
	})

	It("of another namespace list only the folder that the VaultConfig allows there", func() {
		other, engine := newNamespace(), "one-"+namespace
		Expect(vault.Client().Sys().MountWithContext(ctx, engine, &vaultapi.MountInput{Type: "kv", Options: map[string]string{"version": "1"}})).To(Succeed())
		do(v1alpha1.OperationWrite, "data/theirs", in(engine), builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"}))
		do(v1alpha1.OperationWrite, "ours", in(engine), builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"}))
		update(&v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main"}}, func(c *v1alpha1.VaultConfig) {
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
				Names:          []v1alpha1.NamespaceName{v1alpha1.NamespaceName(other)},
				PathPrefixes:   []v1alpha1.PathPrefix{v1alpha1.PathPrefix(engine + "/data")},
				TaskOperations: []v1alpha1.VaultTaskOperation{v1alpha1.OperationList},
			}}
		})
		foreign := func(t *v1alpha1.VaultTask) { t.Spec.VaultConfigRef.Namespace = namespace }
		allowed := builder.VaultTask(other, "allowed", v1alpha1.OperationList, "data", in(engine), foreign)
		top := builder.VaultTask(other, "top", v1alpha1.OperationList, "", in(engine), foreign)
		create(allowed, top)
		expectCondition(allowed, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(allowed.Status.Result.Keys).To(Equal([]string{"theirs"}))
		expectCondition(top, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
	})

	It("of another namespace do only what the VaultConfig allows there", func() {
		other := newNamespace()
		config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "main"}}
		update(config, func(c *v1alpha1.VaultConfig) {
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
				Names:        []v1alpha1.NamespaceName{v1alpha1.NamespaceName(other)},
				PathPrefixes: []v1alpha1.PathPrefix{"secret/shared-{{namespace}}"},
				TaskOperations: []v1alpha1.VaultTaskOperation{
					v1alpha1.OperationWrite, v1alpha1.OperationReadMetadata, v1alpha1.OperationDelete,
				},
			}}
		})
		foreign := func(t *v1alpha1.VaultTask) { t.Spec.VaultConfigRef.Namespace = namespace }
		a := builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"})
		for name, t := range map[string]*v1alpha1.VaultTask{
			"write":    builder.VaultTask(other, "write", v1alpha1.OperationWrite, "shared-"+other+"/x", foreign, a),
			"metadata": builder.VaultTask(other, "metadata", v1alpha1.OperationReadMetadata, "shared-"+other+"/x", foreign),
			"delete":   builder.VaultTask(other, "delete", v1alpha1.OperationDelete, "shared-"+other+"/x", foreign),
		} {
			if name != "write" {
				t.Spec.Suspend = new(true)
			}
			create(t)
		}
		written := builder.VaultTask(other, "write", v1alpha1.OperationWrite, "")
		expectCondition(written, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		for _, name := range []string{"metadata", "delete"} {
			t := builder.VaultTask(other, name, v1alpha1.OperationRead, "")
			update(t, func(t *v1alpha1.VaultTask) { t.Spec.Suspend = nil })
			expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		}
		for _, t := range []*v1alpha1.VaultTask{
			builder.VaultTask(other, "other-path", v1alpha1.OperationWrite, "private/x", foreign, a),
			builder.VaultTask(other, "other-operation", v1alpha1.OperationDeleteMetadata, "shared-"+other+"/x", foreign),
			builder.VaultTask(other, "read", v1alpha1.OperationRead, "shared-"+other+"/x", foreign),
			builder.VaultTask(other, "list-all", v1alpha1.OperationList, "", foreign),
			builder.VaultTask(other, "generic", v1alpha1.OperationGenericRead, "secret/data/shared-"+other+"/x", foreign),
		} {
			create(t)
			expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNamespaceNotAllowed)
		}
	})
})
