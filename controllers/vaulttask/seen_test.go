package vaulttask

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func TestAnEditOfAFinishedTaskIsSeen(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	task := builder.VaultTask("shop", "done", v1alpha1.OperationRead, "db")
	task.Generation = 1
	begin(task, time.Time{}, time.Now())
	fail(task, fault.Terminal(v1alpha1.ReasonSecretNotFound, "gone"), time.Now())
	suspended, ttl := true, int32(3600)
	task.Spec.Suspend, task.Spec.TTLSecondsAfterFinished, task.Generation = &suspended, &ttl, 2
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(task).WithStatusSubresource(task).Build()
	recorder := events.NewFakeRecorder(9)
	r := NewReconciler(c, c, nil, nil, recorder, clock.RealClock{})
	key := client.ObjectKeyFromObject(task)
	for range 2 {
		result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(result.RequeueAfter).To(BeNumerically("~", time.Hour, time.Minute))
	}
	g.Expect(c.Get(t.Context(), key, task)).To(Succeed())
	g.Expect(task.Status.ObservedGeneration).To(BeEquivalentTo(2))
	for _, condition := range task.Status.Conditions {
		g.Expect(condition.ObservedGeneration).To(BeEquivalentTo(2), condition.Type)
	}
	g.Expect(recorder.Events).To(BeEmpty(), "its end was told before")
}
