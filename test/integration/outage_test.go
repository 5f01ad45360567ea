package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("While Vault cannot be reached", func() {
	var (
		namespace string
		proxy     *env.Proxy
		config    *v1alpha1.VaultConfig
		caller    *caller
		password  string
	)

	BeforeEach(func() {
		namespace = newNamespace()
		var err error
		proxy, err = env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config = vault.Config(namespace, "main", builder.WithURL(proxy.URL()), func(c *v1alpha1.VaultConfig) {
			c.Spec.Outage = &v1alpha1.VaultOutage{ServeFor: &metav1.Duration{Duration: time.Hour}}
		})
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		password = canary()
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"password": password})
		create(builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/db")),
			builder.Connection(namespace, "new", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/new")))
		caller = newCaller(replica)
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "db"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("password", password))
	})

	It("a pod starts with what the replica has read, is told so, and has the newest when Vault is back", func() {
		proxy.Inject(env.Fault{CloseBefore: true})
		pod := newPod(namespace, map[string]string{"connection": "db"})
		response, err := caller.mount(pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("password", password))
		Eventually(func() []string { return eventsOf(pod) }).Should(ContainElement("Warning VaultUnreachable"))
		_, err = caller.mount(newPod(namespace, map[string]string{"connection": "new"}))
		expectFault(err, v1alpha1.ReasonVaultUnreachable, "no answer from")
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable,
			ContainSubstring("meanwhile pods may start with secrets that were read in the last 1h0m0s (spec.outage.serveFor)"))

		changed := canary()
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"password": changed})
		proxy.Heal()
		Eventually(func(g Gomega) {
			newest, err := caller.mount(pod, response.GetRevision())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files(newest)).To(HaveKeyWithValue("password", changed))
		}).Should(Succeed())
	})

	It("nothing is given that Vault has refused since", func() {
		proxy.Inject(env.Fault{Path: "secret/data/" + namespace + "/db", Status: 403, ContentType: "application/json", Body: `{"errors":["permission denied"]}`})
		_, err := caller.mount(newPod(namespace, map[string]string{"connection": "db"}))
		expectFault(err, v1alpha1.ReasonPermissionDenied, "its policy needs")
		proxy.Heal()
		proxy.Inject(env.Fault{CloseBefore: true})
		_, err = caller.mount(newPod(namespace, map[string]string{"connection": "db"}))
		expectFault(err, v1alpha1.ReasonVaultUnreachable, "no answer from")
	})
})
