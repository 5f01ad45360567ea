package vaulttask

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/resolver"
	"sallyport.dev/sallyport/test/builder"
)

func TestWhatTasksWriteIsBounded(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		builder.Secret("shop", "large", map[string]string{"text": strings.Repeat("x", 400_000)}),
		builder.Secret("other", "large", map[string]string{"text": strings.Repeat("x", 400_000)}),
	).Build()
	engine := resolver.NewEngine(nil, nil, clock.RealClock{})
	r := NewReconciler(objects, objects, engine, nil, nil, clock.RealClock{})
	gather := func(namespace string, sources int) (*attempt, error) {
		task := builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, "db")
		for i := range sources {
			task.Spec.DataFrom = append(task.Spec.DataFrom, v1alpha1.TaskDataSource{
				SecretRef: &v1alpha1.LocalReference{Name: "large"}, Prefix: fmt.Sprint(i),
			})
		}
		a := &attempt{Reconciler: r, task: task}
		_, err := a.input(t.Context(), nil)
		return a, err
	}
	_, err := gather("third", 1)
	g.Expect(fault.Is(err, v1alpha1.ReasonCredentialMissing)).To(BeTrue(), "%v", err)
	many, err := gather("other", 16)
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue(), "it ends with the third: %v", err)
	g.Expect(r.written.Inside("other")).To(BeNumerically("<=", 3*writtenTimes*400_100))
	many.forgetData()

	var under []*attempt
	for {
		a, refusal := gather("shop", 1)
		if refusal != nil {
			g.Expect(fault.Is(refusal, v1alpha1.ReasonRateLimited)).To(BeTrue(), "%v", refusal)
			g.Expect(fault.From(refusal).Class).To(Equal(fault.ClassTransient))
			break
		}
		under = append(under, a)
	}
	g.Expect(len(under)).To(BeNumerically("<=", heap.TasksShare/(writtenTimes*400_000)))
	_, err = gather("other", 1)
	g.Expect(err).NotTo(HaveOccurred())
	for _, a := range under {
		a.forgetData()
	}
	_, err = gather("shop", 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.reading.Inside("shop")).To(BeZero())
}

func TestWhatTasksHandOutIsBounded(t *testing.T) {
	g := NewWithT(t)
	r := NewReconciler(nil, nil, resolver.NewEngine(nil, nil, clock.RealClock{}), nil, nil, clock.RealClock{})
	key, err := age.GenerateX25519Identity()
	g.Expect(err).NotTo(HaveOccurred())
	export := func(operation v1alpha1.VaultTaskOperation, values map[string]any) (*outcome, error) {
		task := builder.VaultTask("shop", "read", operation, "db")
		task.Spec.Result = &v1alpha1.TaskResultRequest{SealTo: key.Recipient().String()}
		out := &outcome{result: &v1alpha1.TaskResult{}, values: values, message: "read it"}
		return out, (&attempt{Reconciler: r, task: task}).exportResult(t.Context(), nil, key.Recipient(), out)
	}
	small := map[string]any{"a": strings.Repeat("x", 1000)}
	large := map[string]any{"a": strings.Repeat("x", 100_000)}
	out, err := export(v1alpha1.OperationRead, large)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out.result.Sealed).NotTo(BeEmpty())
	g.Expect(out.values).To(BeNil())
	g.Expect(r.written.Inside("shop")).To(BeZero())
	_, err = export(v1alpha1.OperationRead, map[string]any{"a": strings.Repeat("x", heap.TasksShare)})
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue(), "%v", err)

	leave, entered := r.written.TryEnter("shop", heap.TasksShare)
	g.Expect(entered).To(BeTrue())
	_, err = export(v1alpha1.OperationRead, large)
	g.Expect(fault.Is(err, v1alpha1.ReasonRateLimited)).To(BeTrue(), "%v", err)
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassTransient), "what was merely read is read again")
	out, err = export(v1alpha1.OperationGenericWrite, small)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out.result.Sealed).NotTo(BeEmpty(), "a password waits for nobody's memory")
	time.AfterFunc(50*time.Millisecond, leave)
	out, err = export(v1alpha1.OperationGenericWrite, large)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out.result.Sealed).NotTo(BeEmpty(), "what an effect answered cannot be had again")
}
