package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// connects tells whether a connection from a pod's network to another pod comes about within two seconds.
func connects(ctx context.Context, from, to *corev1.Pod, port int) bool {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", process(from)),
		"bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", to.Status.PodIP, port)).Run() == nil
}

var _ = Describe("The network of the node", Ordered, Serial, func() {
	const resolverPort, metricsPort, probesPort = 9443, 8080, 8081
	var (
		t                 *tenant
		stranger, replica *corev1.Pod
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		stranger = t.pod("none")
		stranger.Spec.Volumes, stranger.Spec.Containers[0].VolumeMounts = nil, nil
		create(ctx, stranger)
		expectRuns(ctx, stranger, eventual)
		replica = &systemPods(ctx, "controller")[0]
	}, NodeTimeout(2*eventual))

	It("lets a pod of another namespace see metrics and probes, and not connect to the resolver", func(ctx SpecContext) {
		for name, port := range map[string]int{"metrics": metricsPort, "probes": probesPort} {
			Eventually(ctx, func() bool { return connects(ctx, stranger, replica, port) }).WithTimeout(soon).Should(BeTrue(), name)
		}
		Expect(connects(ctx, stranger, replica, resolverPort)).To(BeFalse(), "resolver")
	}, SpecTimeout(eventual))

	It("lets the node plugin connect to the resolver, and pods mount", func(ctx SpecContext) {
		Eventually(ctx, func() bool { return connects(ctx, plugin(ctx), replica, resolverPort) }).WithTimeout(soon).Should(BeTrue())
		value := newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
		expectFile(t.run(ctx, "db"), "password", value)
	}, SpecTimeout(eventual))

	It("does so because of the NetworkPolicy: without it the port is open", func(ctx SpecContext) {
		policy := &networkingv1.NetworkPolicy{}
		Expect(api.Get(ctx, inSystem("sallyport-controller"), policy)).To(Succeed())
		Expect(api.Delete(ctx, policy)).To(Succeed())
		reaches := func() bool { return connects(ctx, stranger, replica, resolverPort) }
		DeferCleanup(func(ctx SpecContext) {
			again := &networkingv1.NetworkPolicy{
				ObjectMeta: metav1.ObjectMeta{Namespace: policy.Namespace, Name: policy.Name, Annotations: policy.Annotations},
				Spec:       policy.Spec,
			}
			Expect(api.Create(ctx, again)).To(Succeed())
			Eventually(ctx, func() bool { return connects(ctx, stranger, replica, resolverPort) }).WithTimeout(eventual).Should(BeFalse())
		}, NodeTimeout(2*eventual))
		Eventually(ctx, reaches).WithTimeout(soon).Should(BeTrue())
	}, SpecTimeout(eventual))
})
