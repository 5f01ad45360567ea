package connection

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// Also of what no file shows: a look that finds nothing new is none after an edit.
func TestAnEditOfAnyFieldIsSeen(t *testing.T) {
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(corev1.AddToScheme(scheme)).To(Succeed())
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	former := builder.Connection("shop", "db", map[string]any{"host": "db.example.com"})
	for field, spec := range builder.Edits(former.Spec) {
		t.Run(field, func(t *testing.T) {
			g := NewWithT(t)
			found := former.DeepCopy()
			found.UID, found.Generation = "uid", 1
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(found).WithStatusSubresource(found).Build()
			sessions, err := session.NewSessions(session.Options{Reader: c})
			g.Expect(err).NotTo(HaveOccurred())
			r := NewReconciler(c, resolver.NewEngine(c, sessions, clock.RealClock{}), events.NewFakeRecorder(99))
			key := client.ObjectKeyFromObject(found)
			seen := func(generation int64) {
				_, _ = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
				g.Expect(c.Get(t.Context(), key, found)).To(Succeed())
				g.Expect(found.Status.ObservedGeneration).To(Equal(generation))
				ready := meta.FindStatusCondition(found.Status.Conditions, v1alpha1.ConditionReady)
				g.Expect(ready.ObservedGeneration).To(Equal(generation))
			}
			seen(1)
			seen(1)
			found.Spec, found.Generation = *spec.DeepCopy(), 2
			g.Expect(c.Update(t.Context(), found)).To(Succeed())
			seen(2)
		})
	}
}
