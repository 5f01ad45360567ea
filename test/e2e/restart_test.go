package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// workload is a Deployment, StatefulSet or DaemonSet whose pods mount a Connection.
type workload struct {
	client.Object
	// replicas is how many pods it has on the one node.
	replicas int
}

// template builds the parts that all three kinds have. A program that reads its files only at start is what restarts
// are for.
func (t *tenant) template(name, connection string) (metav1.ObjectMeta, *metav1.LabelSelector, corev1.PodTemplateSpec) {
	labels := map[string]string{"app": name}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: t.pod(connection).Spec}
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	return t.meta(name), &metav1.LabelSelector{MatchLabels: labels}, template
}

func (t *tenant) deployment(name, connection string, optedIn bool) workload {
	meta, selector, template := t.template(name, connection)
	if optedIn {
		meta.Annotations = optInToRestarts()
	}
	return workload{replicas: 2, Object: &appsv1.Deployment{
		ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(2)), Selector: selector, Template: template},
	}}
}

func (t *tenant) statefulSet(name, connection string) workload {
	meta, selector, template := t.template(name, connection)
	meta.Annotations = optInToRestarts()
	return workload{replicas: 1, Object: &appsv1.StatefulSet{
		ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: new(int32(1)), Selector: selector, Template: template},
	}}
}

func (t *tenant) daemonSet(name, connection string) workload {
	meta, selector, template := t.template(name, connection)
	meta.Annotations = optInToRestarts()
	return workload{replicas: 1, Object: &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}}
}

func optInToRestarts() map[string]string {
	return map[string]string{v1alpha1.AnnotationRestartOnChange: "true"}
}

// pods returns the workload's pods that are not on their way out.
func (w workload) pods(ctx context.Context) []*corev1.Pod {
	GinkgoHelper()
	list := &corev1.PodList{}
	Expect(api.List(ctx, list, client.InNamespace(w.GetNamespace()), client.MatchingLabels{"app": w.GetName()})).To(Succeed())
	var pods []*corev1.Pod
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pods = append(pods, &list.Items[i])
		}
	}
	return pods
}

func (w workload) podUIDs(ctx context.Context) []types.UID {
	GinkgoHelper()
	var uids []types.UID
	for _, pod := range w.pods(ctx) {
		uids = append(uids, pod.UID)
	}
	return uids
}

// templates counts the pod templates that the workload has had: 1 as it was created, and one more for each time that it
// was rolled. The generation does not tell, because a Deployment's counts annotations, too.
func (w workload) templates(ctx context.Context, g Gomega) int {
	options := []client.ListOption{client.InNamespace(w.GetNamespace()), client.MatchingLabels{"app": w.GetName()}}
	if _, ok := w.Object.(*appsv1.Deployment); ok {
		sets := &appsv1.ReplicaSetList{}
		g.Expect(api.List(ctx, sets, options...)).To(Succeed())
		return len(sets.Items)
	}
	revisions := &appsv1.ControllerRevisionList{}
	g.Expect(api.List(ctx, revisions, options...)).To(Succeed())
	return len(revisions.Items)
}

// expectSettled waits until all of the workload's pods are of its present template and run, no others are left, and it
// has had so many templates.
func (w workload) expectSettled(ctx context.Context, templates int) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(w), w.Object)).To(Succeed())
		g.Expect(w.templates(ctx, g)).To(Equal(templates), "templates of %T %s", w.Object, w.GetName())
		var updated int
		switch o := w.Object.(type) {
		case *appsv1.Deployment:
			g.Expect(o.Status.ObservedGeneration).To(Equal(o.Generation))
			updated = int(o.Status.UpdatedReplicas)
		case *appsv1.StatefulSet:
			g.Expect(o.Status.ObservedGeneration).To(Equal(o.Generation))
			updated = int(o.Status.UpdatedReplicas)
		case *appsv1.DaemonSet:
			g.Expect(o.Status.ObservedGeneration).To(Equal(o.Generation))
			updated = int(o.Status.UpdatedNumberScheduled)
		}
		g.Expect(updated).To(Equal(w.replicas))
		pods := w.pods(ctx)
		g.Expect(pods).To(HaveLen(w.replicas))
		for _, pod := range pods {
			g.Expect(isRunning(pod)).To(BeTrue(), "pod %s", pod.Name)
		}
	}).WithTimeout(atLast).Should(Succeed())
}

// limitRestarts has so many workloads of a namespace roll at a time.
func limitRestarts(ctx context.Context, namespace string, limit int) {
	GinkgoHelper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{"sallyport.dev/restart-max-unavailable":"%d"}}}`, limit)
	Expect(api.Patch(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
}

// expectOneAfterTheOther expects that each workload was rolled when the pods of those before it were ready, and that
// those which waited were told.
func expectOneAfterTheOther(ctx context.Context, all []workload) {
	GinkgoHelper()
	rolled := func(w workload) string {
		Expect(api.Get(ctx, client.ObjectKeyFromObject(w), w.Object)).To(Succeed())
		return w.GetAnnotations()[v1alpha1.AnnotationRestartedAt] // sorts as it is
	}
	slices.SortFunc(all, func(a, b workload) int { return strings.Compare(rolled(a), rolled(b)) })
	for i, w := range all[1:] {
		Expect(eventsOf(ctx, w.Object, v1alpha1.ReasonRestartPending)).To(HaveLen(1), w.GetName())
		at, err := time.Parse(time.RFC3339, rolled(w))
		Expect(err).NotTo(HaveOccurred())
		for _, pod := range all[i].pods(ctx) {
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.PodReady {
					Expect(c.LastTransitionTime.Time).To(BeTemporally("<=", at), "%s was rolled before %s was there", w.GetName(), pod.Name)
				}
			}
		}
	}
}

var _ = Describe("A workload with restart-on-change", Serial, func() {
	It("is rolled once for a change in Vault, and never by a roll-out of the controller", func(ctx SpecContext) {
		expectProductReady(ctx)
		t := newReadyTenant(ctx)
		value := newSecret("password")
		for _, name := range []string{"db", "other"} {
			t.put(ctx, name, map[string]any{"password": value})
			connection := t.connection(name, map[string]any{"password": "vault.secret(password)"}, t.secretAt(name))
			create(ctx, connection)
			expectReady(ctx, connection)
		}
		asking := []workload{t.deployment("deployment", "db", true), t.statefulSet("stateful", "db"), t.daemonSet("daemon", "db")}
		silent, witness := t.deployment("silent", "db", false), t.deployment("witness", "other", true)
		all := append([]workload{silent, witness}, asking...)
		for _, w := range all {
			create(ctx, w.Object)
		}
		for _, w := range all {
			w.expectSettled(ctx, 1)
		}
		for _, w := range append([]workload{witness}, asking...) {
			Eventually(ctx, func(g Gomega) {
				g.Expect(api.Get(ctx, client.ObjectKeyFromObject(w), w.Object)).To(Succeed())
				g.Expect(w.GetAnnotations()).To(HaveKey(v1alpha1.AnnotationSeen))
			}).WithTimeout(eventual).Should(Succeed(), "what is there at first is noted, and rolls nothing")
		}
		limitRestarts(ctx, t.namespace, 1)
		first, untouched := map[string][]types.UID{}, silent.podUIDs(ctx)
		for _, w := range asking {
			first[w.GetName()] = w.podUIDs(ctx)
		}

		By("a change in Vault")
		value = newSecret("password, changed once")
		t.put(ctx, "db", map[string]any{"password": value})
		second := map[string][]types.UID{}
		for _, w := range asking {
			w.expectSettled(ctx, 2)
			for _, pod := range w.pods(ctx) {
				Expect(first[w.GetName()]).NotTo(ContainElement(pod.UID))
				expectFile(pod, "password", value)
			}
			Expect(eventsOf(ctx, w.Object, v1alpha1.ReasonRestarted)).To(HaveLen(1))
			second[w.GetName()] = w.podUIDs(ctx)
		}
		expectOneAfterTheOther(ctx, asking)
		for _, pod := range silent.pods(ctx) {
			Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(eventual).Should(Equal(value), "without a restart")
		}

		By("a roll-out of the controller; the new leader works, for it rolls what another change concerns")
		rollController(ctx)
		t.put(ctx, "other", map[string]any{"password": newSecret("password of another Connection")})
		witness.expectSettled(ctx, 2)
		for _, w := range asking {
			w.expectSettled(ctx, 2)
			Expect(w.podUIDs(ctx)).To(ConsistOf(second[w.GetName()]))
		}
		silent.expectSettled(ctx, 1)
		Expect(silent.podUIDs(ctx)).To(ConsistOf(untouched))
	}, SpecTimeout(4*atLast))
})
