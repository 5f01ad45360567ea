package e2e

import (
	"context"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

var _ = Describe("The node plugin", Ordered, Serial, func() {
	var (
		t     *tenant
		old   *corev1.Pod
		value string
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		value = newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
		old = t.run(ctx, "db")
	}, NodeTimeout(2*eventual))

	It("can be killed: files stay readable, and new pods mount when it is back", func(ctx SpecContext) {
		keepMetrics(ctx)
		before, err := os.Stat(inPod(old, filepath.Join(mountPath, "password")))
		Expect(err).NotTo(HaveOccurred())
		kill(plugin(ctx))
		expectFile(old, "password", value)
		expectFile(t.run(ctx, "db"), "password", value)
		expectFile(old, "password", value)
		after, err := os.Stat(inPod(old, filepath.Join(mountPath, "password")))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.SameFile(before, after)).To(BeTrue(), "the volume is the same one as before")
	}, SpecTimeout(2*eventual))

	It("can be deleted: files stay readable, and new pods mount when another one runs", func(ctx SpecContext) {
		keepMetrics(ctx)
		former := plugin(ctx)
		tokens := ownTokens(former)
		Expect(accepted(ctx, tokens)).To(ConsistOf("", v1alpha1.AudienceNode))
		remove(ctx, former, client.GracePeriodSeconds(1))
		expectFile(old, "password", value)
		expectFile(t.run(ctx, "db"), "password", value)
		expectFile(old, "password", value)
		// The API server remembers for some seconds what it accepted.
		Eventually(ctx, func() []string { return accepted(ctx, tokens) }).WithTimeout(eventual).WithPolling(time.Second).
			Should(BeEmpty(), "tokens of the former pod")
	}, SpecTimeout(3*eventual))

	It("can be killed in the middle of many mounts: all pods run in the end", func(ctx SpecContext) {
		pods := t.startSomeThatWait(ctx, "db", 12)
		kill(plugin(ctx))
		expectAllRun(ctx, pods, "password", value)
		for _, pod := range pods {
			Expect(api.Delete(ctx, pod)).To(Succeed())
		}
		for _, pod := range pods {
			expectGone(ctx, pod)
		}
	}, SpecTimeout(2*atLast))

	It("may come to a node after the pods: their event says what they wait for, and they start by themselves", func(ctx SpecContext) {
		elsewhere := func(ctx context.Context, selector map[string]string) {
			set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "sallyport-node"}}
			change(ctx, set, func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.NodeSelector = selector })
		}
		former, here := plugin(ctx), map[string]string{"kubernetes.io/os": "linux"}
		elsewhere(ctx, map[string]string{"kubernetes.io/os": "none"})
		DeferCleanup(func(ctx SpecContext) { elsewhere(ctx, here) }, NodeTimeout(soon))
		expectGone(ctx, former)
		early := t.start(ctx, "db")
		expectFailedMount(ctx, early, "driver name "+v1alpha1.DriverName+" not found", "registered CSI drivers")
		elsewhere(ctx, here)
		expectRuns(ctx, early, atLast)
		expectFile(early, "password", value)
	}, SpecTimeout(2*atLast))

	It("keeps the volumes of earlier processes up to date, once the kubelet has sent it tokens", func(ctx SpecContext) {
		value = newSecret("password, rotated")
		t.put(ctx, "db", map[string]any{"password": value})
		Eventually(ctx, func() (string, error) { return read(old, "password") }).WithTimeout(atLast).Should(Equal(value))
	}, SpecTimeout(atLast+soon))

	It("comes back", func(ctx SpecContext) { expectProductReady(ctx) }, SpecTimeout(2*eventual))
})
