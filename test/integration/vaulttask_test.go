package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultTask", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
	})

	versions := func(path string) int {
		GinkgoHelper()
		metadata, err := vault.Client().KVv2("secret").GetMetadata(ctx, path)
		Expect(err).NotTo(HaveOccurred())
		return len(metadata.Versions)
	}

	It("writes a new version once and says which", func() {
		t := builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, namespace+"/new", builder.WithData(map[string]v1alpha1.TaskValue{"user": "scott"}))
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(t.Status.Result.Version).To(BeEquivalentTo(1))
		Expect(t.Status.Result.Keys).To(Equal([]string{"user"}))
		Expect(t.Status.Result.Path).To(Equal("secret/data/" + namespace + "/new"))
		Expect(t.Status.Result.RequestID).NotTo(BeEmpty())
		Expect(t.Status.Claim.CAS).To(HaveValue(BeEquivalentTo(0)))
		Expect(t.Status.CompletionTime).NotTo(BeNil())

		By("not running again by itself, and without an event about what status keeps")
		Consistently(func() int { return versions(namespace + "/new") }, "2s").Should(Equal(1))
		Expect(eventsOf(t)).To(BeEmpty())

		By("running again when the annotation changes")
		update(t, func(t *v1alpha1.VaultTask) { t.Annotations = map[string]string{v1alpha1.AnnotationRerun: "1"} })
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
			g.Expect(t.Status.Result).To(HaveValue(HaveField("Version", BeEquivalentTo(2))))
		}).Should(Succeed())
		Expect(t.Status.Rerun).To(Equal("1"))
	})

	It("copies a secret inside Vault without showing it", func() {
		secret := canary()
		vault.PutKV("secret/data/"+namespace+"/from", map[string]any{"password": secret, "port": 1521})
		t := builder.VaultTask(namespace, "copy", v1alpha1.OperationWrite, "data/"+namespace+"/to", builder.WithData(map[string]v1alpha1.TaskValue{
			"password": v1alpha1.TaskValue("vault.secret(main:" + namespace + "/from.password)"),
			"port":     v1alpha1.TaskValue("vault.secret(main:" + namespace + "/from.port)"),
		}))
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		copied, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/to")
		Expect(err).NotTo(HaveOccurred())
		Expect(copied.Data["password"]).To(Equal(secret))
		Expect(copied.Data["port"]).To(BeEquivalentTo("1521"))
	})

	It("reads and reports key names and version, never values", func() {
		vault.PutKV("secret/data/"+namespace+"/read", map[string]any{"b": canary(), "a": canary()})
		vault.PutKV("secret/data/"+namespace+"/read", map[string]any{"c": canary()})
		one := int64(1)
		latest := builder.VaultTask(namespace, "latest", v1alpha1.OperationRead, namespace+"/read")
		pinned := builder.VaultTask(namespace, "pinned", v1alpha1.OperationRead, namespace+"/read", func(t *v1alpha1.VaultTask) { t.Spec.Version = &one })
		create(latest, pinned)
		expectCondition(latest, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(latest.Status.Result).To(HaveValue(And(HaveField("Version", BeEquivalentTo(2)), HaveField("Keys", Equal([]string{"c"})))))
		expectCondition(pinned, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(pinned.Status.Result).To(HaveValue(And(HaveField("Version", BeEquivalentTo(1)), HaveField("Keys", Equal([]string{"a", "b"})))))
	})

	It("that carries a cas writes only if the version is that one", func() {
		vault.PutKV("secret/data/"+namespace+"/cas", map[string]any{"a": "1"})
		zero, one := int64(0), int64(1)
		refused := builder.VaultTask(namespace, "refused", v1alpha1.OperationWrite, namespace+"/cas", builder.WithData(map[string]v1alpha1.TaskValue{"a": "2"}),
			func(t *v1alpha1.VaultTask) { t.Spec.CAS = &zero })
		create(refused)
		expectCondition(refused, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonCASMismatch, Equal("nothing was written: "+
			"the write was to be the first version, and version 1 of secret/"+namespace+"/cas is there; look at what is there, then create another VaultTask with cas: 1"))
		expectCondition(refused, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonCASMismatch)
		expectEvent(refused, "Warning", v1alpha1.ReasonCASMismatch)
		accepted := builder.VaultTask(namespace, "accepted", v1alpha1.OperationWrite, namespace+"/cas", builder.WithData(map[string]v1alpha1.TaskValue{"a": "2"}),
			func(t *v1alpha1.VaultTask) { t.Spec.CAS = &one })
		create(accepted)
		expectCondition(accepted, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(versions(namespace + "/cas")).To(Equal(2))
		late := builder.VaultTask(namespace, "late", v1alpha1.OperationWrite, namespace+"/cas", builder.WithData(map[string]v1alpha1.TaskValue{"a": "2"}),
			func(t *v1alpha1.VaultTask) { t.Spec.CAS = &one })
		create(late)
		expectCondition(late, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonCASMismatch,
			And(ContainSubstring("was to follow version 1, and version 2 of"), HaveSuffix("create another VaultTask with cas: 2")))
	})

	DescribeTable("that Vault refuses has failed, with the reason",
		func(reason, sentence string, build func(namespace string) *v1alpha1.VaultTask) {
			t := build(namespace)
			create(t)
			expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, reason, ContainSubstring(sentence))
		},
		Entry("a path with nothing there", v1alpha1.ReasonSecretNotFound, "GET secret/data/", func(ns string) *v1alpha1.VaultTask {
			return builder.VaultTask(ns, "t", v1alpha1.OperationRead, ns+"/nothing")
		}),
		Entry("a path without permission", v1alpha1.ReasonPermissionDenied, "its policy needs", func(ns string) *v1alpha1.VaultTask {
			return builder.VaultTask(ns, "t", v1alpha1.OperationRead, ns, func(t *v1alpha1.VaultTask) { t.Spec.EnginePath = "elsewhere" })
		}),
		Entry("a broken expression", v1alpha1.ReasonInvalidExpression, `spec.data: key "a"`, func(ns string) *v1alpha1.VaultTask {
			return builder.VaultTask(ns, "t", v1alpha1.OperationWrite, ns, builder.WithData(map[string]v1alpha1.TaskValue{"a": "vault.secret("}))
		}),
	)

	It("waits for what it needs and then runs by itself", func() {
		t := builder.VaultTask(namespace, "early", v1alpha1.OperationWrite, namespace+"/early", builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"}),
			builder.WithConfig("later"))
		create(t)
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConfigNotFound)
		create(vault.Config(namespace, "later"))
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("cannot be changed", func() {
		t := builder.VaultTask(namespace, "fixed", v1alpha1.OperationWrite, namespace+"/fixed", builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"}))
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		for _, change := range []func(*v1alpha1.VaultTask){
			func(t *v1alpha1.VaultTask) { t.Spec.Data["a"] = "2" },
			func(t *v1alpha1.VaultTask) { t.Spec.SecretPath = "elsewhere" },
			func(t *v1alpha1.VaultTask) { zero := int64(0); t.Spec.CAS = &zero },
			func(t *v1alpha1.VaultTask) { t.Spec.Operation = v1alpha1.OperationPatch },
		} {
			changed := t.DeepCopy()
			change(changed)
			Expect(cp.Client.Update(ctx, changed)).To(MatchError(ContainSubstring("cannot be changed")))
		}
		By("but it can be suspended")
		update(t, func(t *v1alpha1.VaultTask) { yes := true; t.Spec.Suspend = &yes })
	})
})

var _ = Describe("A VaultTask whose answer is lost", Serial, func() {
	var (
		namespace string
		proxy     *env.Proxy
	)

	BeforeEach(func() {
		var err error
		proxy, err = env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		namespace = newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vault.Config(namespace, "main", builder.WithURL(proxy.URL()))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	DescribeTable("still has its effect exactly once",
		func(fault env.Fault) {
			fault.Method, fault.Path, fault.Times = "PUT", "secret/data/"+namespace, 1
			proxy.Inject(fault)
			fault.Method = "POST"
			proxy.Inject(fault)
			t := builder.VaultTask(namespace, "lossy", v1alpha1.OperationWrite, namespace+"/once", builder.WithData(map[string]v1alpha1.TaskValue{"a": "1"}))
			create(t)
			expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			Expect(t.Status.Result.Version).To(BeEquivalentTo(1))
			metadata, err := vault.Client().KVv2("secret").GetMetadata(ctx, namespace+"/once")
			Expect(err).NotTo(HaveOccurred())
			Expect(metadata.Versions).To(HaveLen(1))
		},
		Entry("when Vault had applied it", env.Fault{CloseAfter: true}),
		Entry("when Vault had not seen it", env.Fault{CloseBefore: true}),
		Entry("when Vault answered with an error of its own", env.Fault{Status: 500}),
	)

	It("says so when somebody else wrote meanwhile", func() {
		// The retry must come after the other's write: nothing gets through until it is done.
		proxy.Inject(env.Fault{Method: "POST", Path: "secret/data/" + namespace, CloseBefore: true})
		t := builder.VaultTask(namespace, "raced", v1alpha1.OperationWrite, namespace+"/raced", builder.WithData(map[string]v1alpha1.TaskValue{"a": "ours"}),
			func(t *v1alpha1.VaultTask) { zero := int64(0); t.Spec.CAS = &zero })
		create(t)
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
			g.Expect(t.Status.Claim).NotTo(BeNil())
		}).Should(Succeed())
		vault.PutKV("secret/data/"+namespace+"/raced", map[string]any{"a": "theirs"})
		proxy.Heal()
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
			g.Expect(t.Status.CompletionTime).NotTo(BeNil())
		}).Should(Succeed())
		metadata, err := vault.Client().KVv2("secret").GetMetadata(ctx, namespace+"/raced")
		Expect(err).NotTo(HaveOccurred())
		// Either ours came first and theirs is version 2, or theirs came first and ours was refused; never ours twice.
		if len(metadata.Versions) == 1 {
			expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonCASMismatch)
		} else {
			expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			Expect(metadata.Versions).To(HaveLen(2))
		}
	})
})
