package e2e

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("A replica of the controller", Serial, func() {
	const many = 14

	DescribeTable("can be killed in the middle of many mounts: all pods run in the end", func(ctx SpecContext, leads bool) {
		expectProductReady(ctx)
		t := newReadyTenant(ctx)
		value := newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))

		victim := replica(ctx, leads)
		tokens := ownTokens(victim)
		Expect(accepted(ctx, tokens)).To(ConsistOf(""))
		keepMetrics(ctx)
		pods := t.startSomeThatWait(ctx, "db", many)
		kill(victim)
		Expect(api.Delete(ctx, victim, client.GracePeriodSeconds(0))).To(Succeed())
		expectAllRun(ctx, pods, "password", value)
		expectProductReady(ctx)
		Eventually(ctx, func() string { return leader(ctx) }).WithTimeout(eventual).
			Should(BeElementOf(names(systemPods(ctx, "controller"))), "the leader is one of the replicas that run")
		Eventually(ctx, func() map[string]string { return published(ctx) }).WithTimeout(eventual).
			ShouldNot(HaveKey(victim.Name), "the dead replica's certificate is withdrawn")
		Eventually(ctx, func() []string { return accepted(ctx, tokens) }).WithTimeout(eventual).WithPolling(time.Second).
			Should(BeEmpty(), "the dead replica's token")
	},
		Entry("the leader", true, SpecTimeout(2*atLast)),
		Entry("another one", false, SpecTimeout(2*atLast)),
	)
})

// replica returns the replica that leads, or one that does not.
func replica(ctx context.Context, leads bool) *corev1.Pod {
	GinkgoHelper()
	name := leader(ctx)
	for _, pod := range systemPods(ctx, "controller") {
		if (pod.Name == name) == leads {
			return &pod
		}
	}
	Fail("there is no such replica")
	return nil
}

// leader returns the name of the pod that holds the controllers' Lease.
func leader(ctx context.Context) string {
	GinkgoHelper()
	lease := &coordinationv1.Lease{}
	Expect(api.Get(ctx, inSystem("sallyport-controller"), lease)).To(Succeed())
	Expect(lease.Spec.HolderIdentity).NotTo(BeNil())
	// controller-runtime puts a UUID behind the host name.
	name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	return name
}

func names(pods []corev1.Pod) []string {
	var names []string
	for i := range pods {
		names = append(names, pods[i].Name)
	}
	return names
}
