package integration

import (
	"fmt"
	"runtime"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("Many VaultConfigs of one Vault", Serial, func() {
	It("take no goroutine each, share one look at its health, and write nothing while nothing changes", func() {
		proxy, err := env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		made := 0
		upTo := func(number int) {
			GinkgoHelper()
			for ; made < number; made++ {
				create(vault.Config(namespace, fmt.Sprintf("many-%d", made), builder.WithURL(proxy.URL())))
			}
		}
		// versions are those of the VaultConfigs that are Ready.
		versions := func() map[string]string {
			GinkgoHelper()
			list := &v1alpha1.VaultConfigList{}
			Expect(cp.Client.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
			found := map[string]string{}
			for i := range list.Items {
				if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
					found[list.Items[i].Name] = list.Items[i].ResourceVersion
				}
			}
			return found
		}

		started := time.Now()
		upTo(10)
		Eventually(versions).Should(HaveLen(10))
		const slack = 20 // connections come and go, and so do requests
		few := runtime.NumGoroutine()
		upTo(80)
		Eventually(versions).Should(HaveLen(80))
		Eventually(runtime.NumGoroutine, "60s").Should(BeNumerically("<", few+slack))

		Expect(proxy.Counts()["GET sys/health"]).To(BeNumerically("<=", 2+int(time.Since(started)/(8*time.Second))), "not one for each of them")

		before := versions()
		Consistently(versions, "5s", "1s").Should(Equal(before))
	})
})
