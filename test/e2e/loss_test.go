package e2e

import (
	"context"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// lossOfControllers is how long no controller runs: longer than leases and tokens of a minute live, and as much of five
// minutes as ten are of forty. What is renewed at two thirds has more than that left, and the time for a start.
const lossOfControllers = 75 * time.Second

// withoutControllers calls do while no replica of the controller runs: they crash, and no others come.
func withoutControllers(ctx context.Context, do func()) {
	GinkgoHelper()
	keepMetrics(ctx)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "sallyport-controller"}}
	scale := func(ctx context.Context, replicas int32) {
		GinkgoHelper()
		change(ctx, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = &replicas })
	}
	restored := false
	restore := func(ctx context.Context) {
		if !restored {
			scale(ctx, 2)
			expectProductReady(ctx)
			restored = true
		}
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) }, NodeTimeout(atLast))
	running := systemPods(ctx, "controller")
	Expect(running).To(HaveLen(2))
	for i := range running {
		kill(&running[i])
	}
	scale(ctx, 0)
	for i := range running {
		expectGone(ctx, &running[i])
	}
	do()
	restore(ctx)
}

// survivesTheLossOfBothReplicas is a spec of hack/test.sh soak.
func survivesTheLossOfBothReplicas(ctx SpecContext) {
	expectProductReady(ctx)
	t := newReadyTenant(ctx)
	d := newDatabase(ctx, t)
	mount := "userpass-" + t.namespace
	minute, five := t.withUser(ctx, mount, "carol", "60s"), t.withUser(ctx, mount, "dave", "5m")
	d.connect(ctx, t, "minute", minute.Name, "minute")
	d.connect(ctx, t, "five", five.Name, "five")
	lost, kept, leaving := t.startMany(ctx, "minute", 3), t.startMany(ctx, "five", 3), t.start(ctx, "lasting")
	began := time.Now()
	for _, pod := range slices.Concat(kept, lost) {
		expectRuns(ctx, pod, eventual)
	}
	expectRuns(ctx, leaving, eventual)
	for _, pod := range kept {
		d.watchOnce(pod)
	}
	var ended []string
	for _, pod := range append(lost, leaving) {
		Expect(d.login(pod.Name, inPod(pod, mountPath))).To(Succeed())
	}
	for _, pod := range lost {
		ended = append(ended, d.had(pod)...)
	}
	for _, role := range []string{"minute", "five", "lasting"} {
		d.forbidLeases(ctx, role)
	}

	waiting := t.pod("five")
	withoutControllers(ctx, func() {
		over := time.Now().Add(lossOfControllers)
		create(ctx, waiting)
		expectFailedMount(ctx, waiting, v1alpha1.ReasonNoResolver, "resolver")
		By("a pod goes, and nobody can give back what it had")
		remove(ctx, leaving)
		Eventually(ctx, d.made).WithTimeout(lossOfControllers).WithPolling(time.Second).
			ShouldNot(ContainElement(BeElementOf(ended)), "users of a minute, which nobody renews")
		time.Sleep(time.Until(over))
		Expect(d.made()).To(ContainElements(d.had(leaving)))
		Expect(d.failed()).To(BeEmpty())
	})

	By("everything goes on by itself")
	expectRuns(ctx, waiting, atLast)
	for _, config := range []client.Object{minute, five} {
		expectReady(ctx, config)
	}
	for _, pod := range lost {
		Eventually(ctx, func() error { return d.login(pod.Name, inPod(pod, mountPath)) }).WithTimeout(atLast).WithPolling(time.Second).
			Should(Succeed(), "another user of pod %s", pod.Name)
		d.watch(pod)
	}
	// What waits to be given back is tried again with pauses that have grown meanwhile.
	d.expectEnds(ctx, 5*time.Minute, leaving, kept...)
	Consistently(ctx, d.failed).WithTimeout(time.Until(began.Add(5*time.Minute+30*time.Second))).WithPolling(time.Second).
		Should(BeEmpty(), "also after the time that what was kept lives if nobody renews it")
	for _, pod := range kept {
		Expect(d.had(pod)).To(HaveLen(1), "it is the first one")
	}
	for _, pod := range lost {
		Expect(d.had(pod)).To(HaveLen(2), "another in place of one that is gone, and no more")
	}

	d.stopWatching()
	last := t.run(ctx, "lasting")
	for _, pod := range append(slices.Concat(lost, kept), waiting, last) {
		remove(ctx, pod)
	}
	Eventually(ctx, d.made).WithTimeout(atLast).WithPolling(time.Second).Should(BeEmpty(), "users in PostgreSQL")
	d.expectNoLeases(ctx, "lasting")
}
