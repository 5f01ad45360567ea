package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("The status of a Connection", func() {
	It("counts the volumes that mount it, over all replicas, and tells which versions they hold", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": canary()})
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)", "host": "a"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(c.Status.Mounts).To(BeNil())
		mounts := func(g Gomega) *v1alpha1.ConnectionMounts {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			g.Expect(c.Status.Mounts).NotTo(BeNil())
			return c.Status.Mounts
		}

		caller := newCaller(replica)
		attributes := map[string]string{"connection": "oracle"}
		first, second := newPod(namespace, attributes), newPod(namespace, map[string]string{"connection": "oracle", "value.host": "b"})
		held, err := mountEventually(caller, first)
		Expect(err).NotTo(HaveOccurred())
		_, err = caller.mount(second)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(g Gomega) {
			found := mounts(g)
			g.Expect(found.Volumes).To(HaveValue(BeEquivalentTo(2)))
			g.Expect(found.Secrets).To(Equal([]v1alpha1.ServedSecret{{Path: path, OldestVersion: 1, NewestVersion: 1}}))
			g.Expect(found.LastRefreshTime).NotTo(BeNil())
		}).Should(Succeed())

		By("a new version that one of them has, and another replica")
		other, err := cp.StartController(ctx, "sallyport-controller-counts", log)
		Expect(err).NotTo(HaveOccurred())
		vault.PutKV(path, map[string]any{"password": canary()})
		Eventually(func(g Gomega) {
			response, failure := caller.mount(first, held.GetRevision())
			g.Expect(failure).NotTo(HaveOccurred())
			g.Expect(response.GetUnchanged()).To(BeFalse())
		}).Should(Succeed())
		_, err = mountEventually(newCaller(other), newPod(namespace, attributes))
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(g Gomega) {
			found := mounts(g)
			g.Expect(found.Volumes).To(HaveValue(BeEquivalentTo(3)))
			g.Expect(found.Secrets).To(Equal([]v1alpha1.ServedSecret{{Path: path, OldestVersion: 1, NewestVersion: 2}}))
			g.Expect(found.Replicas).To(HaveExactElements(
				And(HaveField("Name", replica.PodName), HaveField("Volumes", BeEquivalentTo(2))),
				And(HaveField("Name", other.PodName), HaveField("Volumes", BeEquivalentTo(1)))))
		}).Should(Succeed())

		By("a replica that stops, and refreshes that change nothing")
		before := c.ResourceVersion
		Expect(other.Stop()).To(Succeed())
		_, err = caller.mount(second)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func(g Gomega) { // the second volume has the new version now, which is a change
			g.Expect(mounts(g).Secrets).To(Equal([]v1alpha1.ServedSecret{{Path: path, OldestVersion: 2, NewestVersion: 2}}))
			g.Expect(c.ResourceVersion).NotTo(Equal(before))
		}).Should(Succeed())
		Expect(c.Status.Mounts.Volumes).To(HaveValue(BeEquivalentTo(3)), "the volume will turn up with another replica")
		before = c.ResourceVersion
		Consistently(func(g Gomega) {
			_, failure := caller.mount(second)
			g.Expect(failure).NotTo(HaveOccurred())
			mounts(g)
			g.Expect(c.ResourceVersion).To(Equal(before))
		}, "12s", "2s").Should(Succeed())
	})
})
