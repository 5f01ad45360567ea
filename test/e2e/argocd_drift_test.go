package e2e

import (
	"context"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// serverSide has the API server compare and apply an application, and begins to apply it so.
func (a *application) serverSide(ctx context.Context) {
	GinkgoHelper()
	a.patch(ctx, `{"metadata":{"annotations":{"argocd.argoproj.io/compare-options":"ServerSideDiff=true"}},
		"spec":{"syncPolicy":{"syncOptions":["ServerSideApply=true"]}}}`)
	// By who asked, not by when it was started, for two may be in the same second.
	const user = "e2e-server-side"
	a.syncAs(ctx, user, "ServerSideApply=true")
	Eventually(ctx, func() string { return a.status(ctx).OperationState.Operation.InitiatedBy.Username }).WithTimeout(eventual).Should(Equal(user))
}

// expectNoDrift has Argo CD render and compare applications ten times over, in which nothing may be found to differ.
func expectNoDrift(ctx context.Context, applications ...*application) {
	GinkgoHelper()
	for range 10 {
		for _, a := range applications {
			a.askForRefresh(ctx)
		}
		for _, a := range applications {
			a.expectRefreshed(ctx)
			Expect(a.status(ctx).wrong()).To(BeEmpty(), "application %s", a.name)
		}
	}
}

// expectPeace changes a secret under a Deployment with restart-on-change that Argo CD holds to what git has. It is rolled
// once, and Argo CD finds nothing to do, then and ever after.
func expectPeace(ctx context.Context, bookshop workload, samples *application, others ...*application) {
	GinkgoHelper()
	all := append([]*application{samples}, others...)
	var begun []string
	for _, a := range all {
		begun = append(begun, a.expectSynced(ctx).OperationState.StartedAt)
	}
	Eventually(ctx, func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(bookshop), bookshop.Object)).To(Succeed())
		g.Expect(bookshop.GetAnnotations()).To(HaveKey(v1alpha1.AnnotationSeen))
	}).WithTimeout(eventual).Should(Succeed())
	templates := bookshop.templates(ctx, Default)

	password := putOracle(ctx)
	bookshop.expectSettled(ctx, templates+1)
	Expect(os.ReadFile(inPod(bookshop.pods(ctx)[0], "/connections/oracle/password"))).To(BeEquivalentTo(password))
	samples.expectSynced(ctx)
	expectNoDrift(ctx, all...)
	bookshop.expectSettled(ctx, templates+1)
	for i, a := range all {
		Expect(a.status(ctx).OperationState.StartedAt).To(Equal(begun[i]), "Argo CD applied %s once more", a.name)
	}
}

func (t *tenant) bookshop() workload {
	return workload{replicas: 1, Object: &appsv1.Deployment{ObjectMeta: t.meta("bookshop")}}
}

// expectCurrent makes sure that Flux and "helm --wait", which compute the status of objects by kstatus, wait for nothing.
func (t *tenant) expectCurrent(ctx context.Context) {
	GinkgoHelper()
	for _, kind := range []string{"VaultConfig", "Connection", "VaultTask"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		Expect(api.List(ctx, list, client.InNamespace(t.namespace))).To(Succeed())
		Expect(list.Items).NotTo(BeEmpty(), kind)
		for i := range list.Items {
			result, err := kstatus.Compute(&list.Items[i])
			Expect(err).NotTo(HaveOccurred())
			Expect(result.Status).To(Equal(kstatus.CurrentStatus), "%s %s: %s", kind, list.Items[i].GetName(), result.Message)
		}
	}
}

// changedTasksAreRefused is the spec of a VaultTask for which git has other work than it was made for.
func changedTasksAreRefused(ctx SpecContext) {
	const sentence = "what a VaultTask does cannot be changed: create another VaultTask, or set the annotation sallyport.dev/rerun to run this one again"
	t := newReadyTenant(ctx)
	t.put(ctx, "one", map[string]any{"password": newSecret("password")})
	t.put(ctx, "other", map[string]any{"password": newSecret("password")})
	look := func(name, path string) *v1alpha1.VaultTask {
		return builder.VaultTask(t.namespace, name, v1alpha1.OperationRead, t.namespace+"/"+path, func(task *v1alpha1.VaultTask) {
			task.Spec.TTLSecondsAfterFinished = new(int32(0)) // not for what Argo CD would create anew
		})
	}
	a := newApplication(ctx, platformProject, "changed", t.namespace, manifests(look("look", "one")), nil)
	a.sync(ctx)
	a.expectSynced(ctx)

	By("other work in git, for the same task")
	a.change(ctx, manifests(look("look", "other")))
	a.sync(ctx)
	a.expectOperation(ctx, "Failed", ContainSubstring(sentence))
	a.refresh(ctx)
	status := a.status(ctx)
	Expect(status.Sync.Status).To(Equal("OutOfSync"))
	Expect(status.Health.Status).To(Equal("Healthy"))
	Expect(status.Resources).To(ConsistOf(And(HaveField("Name", "look"), HaveField("Status", "OutOfSync"))))

	By("server-side diff, which asks the API server")
	a.serverSide(ctx)
	a.expectOperation(ctx, "Failed", ContainSubstring(sentence))
	// A comparison that failed is in Argo CD's cache as one that found nothing, and the one at the end of the operation, for
	// which nobody asked, takes it from there: Synced (useDiffCache in its controller/state.go). One that is asked for does
	// not, so it is asked until none comes in between.
	Eventually(ctx, func(g Gomega) {
		a.refresh(ctx)
		refreshed := a.status(ctx)
		g.Expect(refreshed.Sync.Status).To(Equal("Unknown"))
		g.Expect(refreshed.Conditions).To(ContainElement(HaveField("Message", ContainSubstring(sentence))))
	}).WithTimeout(eventual).Should(Succeed())

	By("a new name for the other work")
	a.change(ctx, manifests(look("look-other", "other")))
	a.sync(ctx, "ServerSideApply=true")
	a.expectSynced(ctx)
	expectNotFound(ctx, look("look", "one"))
}
