package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

var _ = Describe("While Vault is down, and then sealed,", Ordered, ContinueOnFailure, Serial, func() {
	var (
		t       *tenant
		config  *v1alpha1.VaultConfig
		before  *corev1.Pod
		waiting []*corev1.Pod
		value   string
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		config = t.vaultConfig(mainConfig)
		value = newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
		before = t.run(ctx, "db")
		component(ctx, "stop", "vault")
		DeferCleanup(func(ctx SpecContext) {
			component(ctx, "start", "vault")
			component(ctx, "vault-unseal")
		}, NodeTimeout(eventual))
	}, NodeTimeout(2*eventual))

	It("a new pod waits and says that Vault cannot be reached", func(ctx SpecContext) {
		pod := t.start(ctx, "db")
		expectFailedMount(ctx, pod, v1alpha1.ReasonVaultUnreachable, "Connection "+t.namespace+"/db")
		expectFailedMount(ctx, pod, v1alpha1.ReasonVaultUnreachable, "no answer from "+vault.Address()+": connection refused")
		waiting = append(waiting, pod)
	}, SpecTimeout(eventual))

	It("the VaultConfig says the same", func(ctx SpecContext) {
		Expect(expectNotReady(ctx, config, v1alpha1.ReasonVaultUnreachable).Message).To(ContainSubstring("connection refused"))
	}, SpecTimeout(2*eventual))

	It("a pod that runs keeps its files", func() {
		expectFile(before, "password", value)
	})

	It("a new pod waits and says that Vault is sealed", func(ctx SpecContext) {
		component(ctx, "start", "vault")
		pod := t.start(ctx, "db")
		expectFailedMount(ctx, pod, v1alpha1.ReasonVaultSealed, "Vault is sealed")
		waiting = append(waiting, pod)
		expectFile(before, "password", value)
	}, SpecTimeout(eventual))

	It("the VaultConfig says that Vault is sealed", func(ctx SpecContext) {
		Expect(expectNotReady(ctx, config, v1alpha1.ReasonVaultSealed).Message).To(ContainSubstring("sealed"))
		Expect(config.Status.Vault).NotTo(BeNil())
		Expect(config.Status.Vault.Sealed).To(BeTrue())
	}, SpecTimeout(eventual+soon))

	It("everything waits, and starts by itself when Vault is unsealed", func(ctx SpecContext) {
		component(ctx, "vault-unseal")
		expectReady(ctx, config)
		expectAllRun(ctx, waiting, "password", value)
	}, SpecTimeout(2*atLast))

	It("nothing is lost: a running pod still sees changes afterwards", func(ctx SpecContext) {
		value = newSecret("password, rotated")
		t.put(ctx, "db", map[string]any{"password": value})
		Eventually(ctx, func() (string, error) { return read(before, "password") }).WithTimeout(atLast).Should(Equal(value))
	}, SpecTimeout(atLast+soon))
})
