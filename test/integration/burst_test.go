package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("Volumes that are mounted while another one is", Serial, func() {
	It("share what Vault said a moment ago, and no longer, and those that are mounted alone share nothing", func() {
		namespace := newNamespace()
		proxy := readyConfigByProxy(namespace)
		config := vault.Config(namespace, "main")
		reconfigure(config, func(c *v1alpha1.VaultConfig) { // longer than a request is held here
			c.Spec.Limits = &v1alpha1.VaultLimits{Timeout: &metav1.Duration{Duration: time.Minute}}
		})
		pods := map[string]*corev1.Pod{}
		for _, name := range []string{"oracle", "long"} {
			vault.PutKV("secret/data/"+namespace+"/"+name, map[string]any{"password": canary()})
			c := builder.Connection(namespace, name, map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/"+name),
				func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour} })
			create(c)
			expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			pods[name] = newPod(namespace, map[string]string{"connection": name})
		}
		caller := newCaller(replica)
		mounted := func() string {
			GinkgoHelper()
			response, err := caller.mount(pods["oracle"])
			Expect(err).NotTo(HaveOccurred())
			return files(response)["password"]
		}
		change := func() string {
			password := canary()
			vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": password})
			return password
		}
		read, long := "GET secret/data/"+namespace+"/oracle", "GET secret/data/"+namespace+"/long"
		reads := func() int { return proxy.Counts()[read] }

		// A check of the Connection itself may be among the reads: it comes with the turn in which its volumes are counted,
		// once in ten seconds, and finds another version.
		const ownChecks = 1

		By("mounting one after the other")
		proxy.Reset()
		for i := range 3 {
			now := change()
			Expect(mounted()).To(Equal(now))
			Expect(reads()).To(And(BeNumerically(">=", i+1), BeNumerically("<=", i+1+ownChecks)))
		}

		By("mounting while another volume is being mounted")
		release, finished := make(chan struct{}), make(chan struct{})
		proxy.Inject(env.Fault{Path: "secret/data/" + namespace + "/long", Times: 1, Until: release})
		go func() {
			defer GinkgoRecover()
			defer close(finished)
			_, err := caller.mount(pods["long"])
			Expect(err).NotTo(HaveOccurred())
		}()
		Eventually(func() int { return proxy.Counts()[long] }).Should(Equal(1))
		proxy.Reset()
		started := time.Now()
		const volumes = 20
		for range volumes {
			mounted()
		}
		// One read is shared for two seconds, however slow this machine is.
		Expect(reads()).To(BeNumerically("<=", 1+ownChecks+int(time.Since(started)/(2*time.Second))))
		now := change()
		Eventually(mounted).Should(Equal(now), "although the other one is still being mounted")
		Expect(finished).NotTo(BeClosed())

		By("mounting when it is over")
		close(release)
		Eventually(finished).Should(BeClosed())
		time.Sleep(time.Second) // longer than a burst may pause
		proxy.Reset()
		now = change()
		Expect(mounted()).To(Equal(now))
		Expect(reads()).To(And(BeNumerically(">=", 1), BeNumerically("<=", 1+ownChecks)))
	})
})
