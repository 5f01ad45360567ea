package restart

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// street is a namespace with a limit and five Deployments of one Connection, app-0 to app-4.
func street(t *testing.T, limit string) *house {
	t.Helper()
	objects := []client.Object{shop(map[string]string{
		v1alpha1.LabelRestartOnChange: "true", v1alpha1.LabelRestartMaxUnavailable: limit,
	}), connection()}
	for i := range 5 {
		d := deployment(map[string]string{v1alpha1.AnnotationRestartMinInterval: "0s"})
		d.Name, d.UID = fmt.Sprintf("app-%d", i), "uid"
		objects = append(objects, d)
	}
	h := newHouse(t, objects...)
	h.rollAll()
	return h
}

// reconcile has one Deployment looked at, and tells whether it waits.
func (h *house) reconcile(i int) time.Duration {
	result, err := h.leader.Reconcile(h.ctx, ctrl.Request{NamespacedName: client.ObjectKey{Namespace: "shop", Name: fmt.Sprintf("app-%d", i)}})
	h.Expect(err).NotTo(HaveOccurred())
	return result.RequeueAfter
}

// rollAll has all Deployments looked at, in this order, and returns which were rolled by that.
func (h *house) rollAll(order ...int) (rolled []int) {
	if order == nil {
		order = []int{0, 1, 2, 3, 4}
	}
	for _, i := range order {
		before := rolledFor(h.get(i))
		h.reconcile(i)
		if rolledFor(h.get(i)) != before {
			rolled = append(rolled, i)
		}
	}
	return rolled
}

func (h *house) get(i int) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	h.Expect(h.client.Get(h.ctx, client.ObjectKey{Namespace: "shop", Name: fmt.Sprintf("app-%d", i)}, d)).To(Succeed())
	return d
}

func (h *house) setStatus(i int, status appsv1.DeploymentStatus) {
	d := h.get(i)
	d.Status, d.Status.ObservedGeneration = status, d.Generation
	h.Expect(h.client.Status().Update(h.ctx, d)).To(Succeed())
}

// begun and done are what the deployment controller says while pods are replaced, and afterwards.
var (
	begun = appsv1.DeploymentStatus{Replicas: 2, UpdatedReplicas: 1, AvailableReplicas: 1}
	done  = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
)

func (h *house) pass(d time.Duration) { h.clock.SetTime(h.clock.Now().Add(d)) }

func TestNoMoreWorkloadsOfANamespaceRollThanItSays(t *testing.T) {
	h := street(t, "2")
	h.write(6)
	h.Expect(h.rollAll(3, 1, 4, 0, 2)).To(Equal([]int{3, 1}))
	h.Expect(h.events.Events).To(HaveLen(5))
	for range 2 {
		h.Expect(<-h.events.Events).To(ContainSubstring(v1alpha1.ReasonRestarted))
	}
	h.Expect(<-h.events.Events).To(And(ContainSubstring(v1alpha1.ReasonRestartPending),
		ContainSubstring("of which 2 may roll at a time"), ContainSubstring("Deployment app-1, Deployment app-3")))
	h.setStatus(3, begun)
	h.setStatus(1, begun)
	h.pass(turnInterval)
	h.Expect(h.rollAll()).To(BeEmpty())
	h.Expect(h.events.Events).To(HaveLen(2), "said once")

	h.setStatus(1, done)
	h.Expect(h.rollAll()).To(BeEmpty(), "what is known of the others is as old as the interval at most")
	h.pass(turnInterval)
	h.Expect(h.rollAll(0, 2, 4)).To(Equal([]int{4}), "who came first")
	h.setStatus(4, done)
	h.setStatus(3, done)
	h.pass(turnInterval)
	h.Expect(h.rollAll(2, 0)).To(Equal([]int{2, 0}))
	h.Expect(h.rollAll()).To(BeEmpty())
}

func TestAWorkloadThatStandsStillHoldsUpNobodyForEver(t *testing.T) {
	h := street(t, "1")
	h.write(6)
	h.Expect(h.rollAll()).To(Equal([]int{0}))
	h.setStatus(0, begun)
	for range 9 {
		h.pass(time.Minute)
		h.Expect(h.rollAll()).To(BeEmpty())
	}
	furtherOn := begun
	furtherOn.AvailableReplicas = 2
	h.setStatus(0, furtherOn)
	for range 10 {
		h.pass(time.Minute)
		h.Expect(h.rollAll()).To(BeEmpty(), "it got further")
	}
	h.pass(time.Minute)
	h.Expect(h.rollAll()).To(Equal([]int{1}))

	stalled := begun
	stalled.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
	h.setStatus(1, stalled)
	h.pass(turnInterval)
	h.Expect(h.rollAll()).To(Equal([]int{2}), "what the deployment controller says comes first")
	h.Expect(h.client.Delete(h.ctx, h.get(2))).To(Succeed())
	h.pass(turnInterval)
	h.Expect(h.reconcile(3)).To(BeZero(), "one that is gone is done")
}

func TestAnotherReplicaCountsWhatRollsAlready(t *testing.T) {
	h := street(t, "2")
	h.write(6)
	h.Expect(h.rollAll()).To(HaveLen(2))
	h.setStatus(0, begun)
	h.setStatus(1, begun)
	h.elect()
	h.Expect(h.rollAll()).To(BeEmpty())
	h.setStatus(0, done)
	h.pass(turnInterval)
	h.Expect(h.rollAll()).To(HaveLen(1))
}

func TestWhoHasNothingToWaitForLeaves(t *testing.T) {
	h := street(t, "1")
	h.write(6)
	h.Expect(h.rollAll()).To(Equal([]int{0}))
	out := h.get(1)
	out.Annotations[v1alpha1.AnnotationRestartOnChange] = "false"
	h.Expect(h.client.Update(h.ctx, out)).To(Succeed())
	h.Expect(h.client.Delete(h.ctx, h.get(2))).To(Succeed())
	for _, i := range []int{1, 2} {
		h.Expect(h.reconcile(i)).To(BeZero())
	}
	h.setStatus(0, done)
	h.pass(turnInterval)
	h.Expect(h.rollAll(4, 3)).To(Equal([]int{3}), "its turn is next")
}

func TestARollWhoseAnswerWasLostCounts(t *testing.T) {
	h := street(t, "1")
	h.write(6)
	h.lost = true
	_, err := h.leader.Reconcile(h.ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(h.get(0))})
	h.Expect(err).To(MatchError("lost"))
	h.lost = false
	h.setStatus(0, begun)
	h.pass(time.Minute)
	h.Expect(h.rollAll(1, 2)).To(BeEmpty())
	h.setStatus(0, done)
	h.pass(turnInterval)
	h.Expect(h.rollAll(1, 2)).To(Equal([]int{1}))
}

func TestOneThatRollsMayRollAnew(t *testing.T) {
	h := street(t, "1")
	h.write(6)
	h.Expect(h.rollAll()).To(Equal([]int{0}))
	h.setStatus(0, begun)
	h.pass(time.Minute)
	h.write(7)
	h.Expect(h.rollAll()).To(Equal([]int{0}))
}

func TestWithoutALimitAllRollAtOnce(t *testing.T) {
	h := street(t, "1")
	namespace := shop(nil)
	h.Expect(h.client.Get(h.ctx, client.ObjectKeyFromObject(namespace), namespace)).To(Succeed())
	h.write(6)
	h.Expect(h.rollAll()).To(HaveLen(1))
	delete(namespace.Labels, v1alpha1.LabelRestartMaxUnavailable)
	h.Expect(h.client.Update(h.ctx, namespace)).To(Succeed())
	h.Expect(h.rollAll()).To(HaveLen(4))
	for i := range 5 {
		h.setStatus(i, begun)
	}

	namespace.Labels[v1alpha1.LabelRestartMaxUnavailable] = "1"
	h.Expect(h.client.Update(h.ctx, namespace)).To(Succeed())
	h.write(7)
	h.pass(turnInterval)
	h.Expect(h.rollAll(4)).To(HaveLen(1), "it rolls anyhow")
	for i := range 4 {
		h.setStatus(i, done)
	}
	h.pass(turnInterval)
	h.Expect(h.rollAll(0, 1)).To(BeEmpty(), "those that were rolled without a limit count, too")
}

func TestALimitIsANumber(t *testing.T) {
	for text, limit := range map[string]int{"1": 1, "25": 25, "0": 1, "-1": 1, "many": 1} {
		NewWithT(t).Expect(limitOf(shop(map[string]string{v1alpha1.LabelRestartMaxUnavailable: text}))).To(Equal(limit), text)
	}
	NewWithT(t).Expect(limitOf(shop(nil))).To(BeZero())
}

func TestAWorkloadWithoutPodsIsNotRolled(t *testing.T) {
	d := deployment(asking())
	d.Spec.Replicas = new(int32(0))
	h := newHouse(t, shop(nil), connection(), d)
	begin, _ := h.look()
	h.write(6)
	after, wait := h.look()
	h.Expect(wait).To(BeZero())
	h.Expect(rolledFor(after)).To(BeEmpty())
	h.Expect(after.Annotations[v1alpha1.AnnotationSeen]).NotTo(Equal(begin.Annotations[v1alpha1.AnnotationSeen]),
		"the pods that it will have see what is there then")
}

func TestProgressIsWhatTheControllersSay(t *testing.T) {
	meta := metav1.ObjectMeta{Generation: 2}
	deployment := func(spec appsv1.DeploymentSpec, status appsv1.DeploymentStatus) progress {
		return deploymentProgress(&appsv1.Deployment{ObjectMeta: meta, Spec: spec, Status: status})
	}
	stateful := func(spec appsv1.StatefulSetSpec, status appsv1.StatefulSetStatus) progress {
		return statefulSetProgress(&appsv1.StatefulSet{ObjectMeta: meta, Spec: spec, Status: status})
	}
	daemon := func(spec appsv1.DaemonSetSpec, status appsv1.DaemonSetStatus) progress {
		return daemonSetProgress(&appsv1.DaemonSet{ObjectMeta: meta, Spec: spec, Status: status})
	}
	three := new(int32(3))
	partition := appsv1.StatefulSetUpdateStrategy{RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}}
	for name, row := range map[string]struct {
		progress
		over bool
	}{
		"a Deployment that nobody looked at yet": {deployment(appsv1.DeploymentSpec{Replicas: three},
			appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}), false},
		"a Deployment that is done": {deployment(appsv1.DeploymentSpec{Replicas: three},
			appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}), true},
		"a Deployment with former pods": {deployment(appsv1.DeploymentSpec{Replicas: three},
			appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 4, UpdatedReplicas: 3, AvailableReplicas: 4}), false},
		"a Deployment with pods that are not available": {deployment(appsv1.DeploymentSpec{Replicas: three},
			appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 2}), false},
		"a Deployment that is paused": {deployment(appsv1.DeploymentSpec{Replicas: three, Paused: true}, appsv1.DeploymentStatus{}), true},
		"a StatefulSet half-way": {stateful(appsv1.StatefulSetSpec{Replicas: three},
			appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdatedReplicas: 1, AvailableReplicas: 3}), false},
		"a StatefulSet that is done": {stateful(appsv1.StatefulSetSpec{Replicas: three},
			appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdatedReplicas: 3, AvailableReplicas: 3}), true},
		"a StatefulSet that nobody looked at yet": {stateful(appsv1.StatefulSetSpec{Replicas: three},
			appsv1.StatefulSetStatus{ObservedGeneration: 1, UpdatedReplicas: 3, AvailableReplicas: 3}), false},
		"a StatefulSet of which a part rolls": {stateful(appsv1.StatefulSetSpec{Replicas: three, UpdateStrategy: partition},
			appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdatedReplicas: 1, AvailableReplicas: 3}), true},
		"a StatefulSet that is rolled by hand": {stateful(appsv1.StatefulSetSpec{Replicas: three,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}}, appsv1.StatefulSetStatus{}), true},
		"a DaemonSet half-way": {daemon(appsv1.DaemonSetSpec{},
			appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 2, NumberAvailable: 3}), false},
		"a DaemonSet that is done": {daemon(appsv1.DaemonSetSpec{},
			appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3}), true},
		"a DaemonSet that nobody looked at yet": {daemon(appsv1.DaemonSetSpec{},
			appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3}), false},
		"a DaemonSet that is rolled by hand": {daemon(appsv1.DaemonSetSpec{
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}}, appsv1.DaemonSetStatus{}), true},
		"a Rollout that restarts": {rolloutKind().progress(rolloutObject(map[string]any{"restartAt": "2026-01-01T00:00:01Z"},
			map[string]any{"restartedAt": "2026-01-01T00:00:00Z", "phase": "Healthy"})), false},
		"a Rollout whose new pods are not available": {rolloutKind().progress(rolloutObject(map[string]any{"restartAt": "2026-01-01T00:00:00Z"},
			map[string]any{"restartedAt": "2026-01-01T00:00:00Z", "phase": "Progressing"})), false},
		"a Rollout that is done": {rolloutKind().progress(rolloutObject(map[string]any{"restartAt": "2026-01-01T01:00:00+01:00"},
			map[string]any{"restartedAt": "2026-01-01T00:00:00Z", "phase": "Healthy"})), true},
		"a Rollout in the midst of a canary": {rolloutKind().progress(rolloutObject(map[string]any{"restartAt": "2026-01-01T00:00:00Z"},
			map[string]any{"restartedAt": "2026-01-01T00:00:00Z", "phase": "Paused"})), true},
	} {
		NewWithT(t).Expect(row.progress.over).To(Equal(row.over), name)
	}
	names := []string{}
	for _, k := range kinds() {
		names = append(names, k.Kind)
	}
	slices.Sort(names)
	NewWithT(t).Expect(names).To(Equal([]string{"DaemonSet", "Deployment", "Rollout", "StatefulSet"}))
}
