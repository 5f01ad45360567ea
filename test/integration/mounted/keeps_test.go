//go:build linux

package mounted

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// warnings returns what events say about a pod.
func warnings(g Gomega, pod *corev1.Pod) []string {
	list := &eventsv1.EventList{}
	g.Expect(cp.Client.List(ctx, list, client.InNamespace(pod.Namespace))).To(Succeed())
	var found []string
	for _, e := range list.Items {
		if e.Regarding.UID == pod.UID && e.Type == corev1.EventTypeWarning {
			found = append(found, e.Reason+": "+e.Note)
		}
	}
	return found
}

var _ = Describe("A mounted volume that cannot be refreshed", func() {
	It("keeps its files, and its pod is told why, once for each reason", func() {
		namespace := newNamespace()
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"password": "first"})
		c := connection(namespace, "db", namespace+"/app", map[string]any{"password": "vault.secret(password)"})
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		pod, dir := mount(namespace, "db")
		good := filesIn(dir)
		Expect(good).To(HaveKeyWithValue("password", "first"))

		By("a key that is gone")
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"other": "second"})
		missing := "KeyMissing: the files of the volume stay as they are: Connection " + namespace + `/db, key "password": no attached secret has the key "password" ` +
			"(looked in secret/data/" + namespace + "/app)"
		Eventually(func(g Gomega) { g.Expect(warnings(g, pod)).To(ConsistOf(missing)) }).Should(Succeed())
		Expect(filesIn(dir)).To(Equal(good))
		Expect(expectReady(c, metav1.ConditionFalse, v1alpha1.ReasonKeyMissing)).To(HaveSuffix("(looked in secret/data/" + namespace + "/app)"))

		By("another reason, after more tries")
		Eventually(func() error {
			Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			c.Spec.Value = raw(map[string]any{"password": "vault.secret("})
			return cp.Client.Update(ctx, c)
		}).Should(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(warnings(g, pod)).To(ConsistOf(missing, HavePrefix("InvalidExpression: the files of the volume stay as they are: ")))
		}).Should(Succeed())
		Expect(filesIn(dir)).To(Equal(good))
	})
})
