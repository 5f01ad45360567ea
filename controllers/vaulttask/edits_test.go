package vaulttask

import (
	"testing"
	"time"

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
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// The API server refuses many of these edits; what it lets through by another version's rules must be seen as well.
func TestAnEditOfAnyFieldIsSeen(t *testing.T) {
	const nobody = "http://127.0.0.1:1"
	config := builder.VaultConfig("shop", "main", builder.WithURL(nobody), func(c *v1alpha1.VaultConfig) { c.UID = "config" })
	secret := builder.TokenSecret("shop", config.Spec.Auth.Token.SecretKeyRef.Name, "token")
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(corev1.AddToScheme(scheme)).To(Succeed())
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	now := time.Now()
	for state, reach := range map[string]func(*v1alpha1.VaultTask){
		"complete":  func(task *v1alpha1.VaultTask) { complete(task, &outcome{}, now) },
		"failed":    func(task *v1alpha1.VaultTask) { fail(task, fault.Terminal(v1alpha1.ReasonSecretNotFound, "gone"), now) },
		"waiting":   func(task *v1alpha1.VaultTask) { pending(task, fault.Waiting(v1alpha1.ReasonConfigNotFound, "none")) },
		"suspended": func(task *v1alpha1.VaultTask) { decision{action: keepSuspended}.describe(task) },
		"scheduled": func(task *v1alpha1.VaultTask) {
			task.Spec.Schedule = &v1alpha1.TaskSchedule{Cron: "0 0 1 1 *"}
			decision{action: waitForSchedule, next: now.Add(time.Hour)}.describe(task)
		},
		"complete and scheduled": func(task *v1alpha1.VaultTask) {
			task.Spec.Schedule = &v1alpha1.TaskSchedule{Cron: "0 0 1 1 *"}
			complete(task, &outcome{}, now)
		},
	} {
		former := builder.VaultTask("shop", "task", v1alpha1.OperationRead, "db")
		former.Generation = 1
		begin(former, time.Time{}, now)
		reach(former)
		for field, spec := range builder.Edits(former.Spec) {
			t.Run(state+"/"+field, func(t *testing.T) {
				g := NewWithT(t)
				task := former.DeepCopy()
				task.Spec, task.Generation = *spec.DeepCopy(), 2
				c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(task, config, secret).WithStatusSubresource(task).Build()
				sessions, err := session.NewSessions(session.Options{Reader: c, AllowedURLs: []string{nobody}})
				g.Expect(err).NotTo(HaveOccurred())
				clk := clock.RealClock{}
				r := NewReconciler(c, c, resolver.NewEngine(c, sessions, clk), sessions, events.NewFakeRecorder(99), clk)
				_, _ = r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(task)})
				g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(task), task)).To(Succeed())
				g.Expect(task.Status.ObservedGeneration).To(BeEquivalentTo(2))
				for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionSuspended} {
					if condition := meta.FindStatusCondition(task.Status.Conditions, kind); condition != nil {
						g.Expect(condition.ObservedGeneration).To(BeEquivalentTo(2), kind)
					}
				}
			})
		}
	}
}
