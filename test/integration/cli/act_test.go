package cli

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("kubectl sallyport", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": "p"})
	})

	do := func(sentence string, args ...string) {
		GinkgoHelper()
		r := run(append(args, "-n", namespace)...)
		Expect(r).To(Equal(result{Out: sentence + "\n"}))
	}
	refused := func(code int, sentence string, args ...string) {
		GinkgoHelper()
		r := run(append(args, "-n", namespace)...)
		Expect(oneSentence(r)).To(ContainSubstring(sentence))
		Expect(r.Code).To(Equal(code))
	}

	It("reruns, suspends and resumes VaultTasks", func() {
		task := builder.VaultTask(namespace, "task", v1alpha1.OperationRead, namespace+"/oracle", func(t *v1alpha1.VaultTask) {
			t.Spec.Suspend = new(true)
		})
		create(task)
		await(task, v1alpha1.ConditionSuspended, v1alpha1.ReasonSuspended)
		called := "VaultTask " + namespace + "/task"
		do(called+" is suspended already", "suspend", "vaulttask/task")
		refused(3, called+": it is suspended, so that it would not run; resume it first", "rerun", "vaulttask/task")
		do(called+" goes on", "resume", "vaulttask/task")
		await(task, v1alpha1.ConditionComplete, v1alpha1.ReasonSucceeded)
		do(called+" is not suspended", "resume", "vaulttask/task")
		refused(3, "there is nothing to suspend", "suspend", "vaulttask/task")

		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": "q"})
		do(called+" runs once more", "rerun", "vaulttask/task")
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(task), task)).To(Succeed())
			g.Expect(task.Status.Rerun).NotTo(BeEmpty())
			g.Expect(task.Status.Result).To(HaveValue(HaveField("Version", BeEquivalentTo(2))))
		}).Should(Succeed())
	})

	It("switches VaultConfigs off and on", func() {
		config := vault.Config(namespace, builder.ConfigName)
		called := "VaultConfig " + namespace + "/main"
		do(called+" is switched off: every new use is refused, and mounted files stay as they are", "suspend", "vaultconfig/main")
		await(config, v1alpha1.ConditionSuspended, v1alpha1.ReasonConfigDisabled)
		do(called+" is switched off already", "suspend", "vaultconfig/main")
		do(called+" is switched on", "resume", "vaultconfig/main")
		await(config, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		do(called+" is not switched off", "resume", "vaultconfig/main")
	})

	It("has Connections and VaultConfigs looked at now, several at once", func() {
		oracle := builder.Connection(namespace, "oracle", map[string]any{"password": password}, builder.WithSecret(namespace+"/oracle"),
			func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour} })
		create(oracle)
		await(oracle, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": "q"})
		do("Connection "+namespace+"/oracle is looked at now\nVaultConfig "+namespace+"/main is looked at now",
			"refresh", "connection/oracle", "vaultconfig/main")
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(oracle), oracle)).To(Succeed())
			g.Expect(oracle.Status.Secrets).To(HaveExactElements(HaveField("Version", BeEquivalentTo(2))))
		}).Should(Succeed(), "its interval is an hour")
	})

	It("changes nothing if one of its arguments is wrong, and says what it is for", func() {
		refused(2, "refresh is for connection and vaultconfig, not for vaulttask", "refresh", "vaultconfig/main", "vaulttask/x")
		refused(2, "rerun is for vaulttask, not for pod", "rerun", "pod/x")
		refused(3, `"nope" not found`, "refresh", "vaultconfig/main", "connection/nope")
		config := &v1alpha1.VaultConfig{}
		Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "main"}, config)).To(Succeed())
		Expect(config.Annotations).To(BeEmpty())
	})

	It("says which right is missing", func() {
		grant(namespace, "reader", "view")
		refused(3, `User "reader" cannot patch resource "vaultconfigs"`, "refresh", "vaultconfig/main", "--as", "reader")
	})
})
