package abridged

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/test/builder"
)

// clientOf returns a Client over what informers keep of these objects, and how often the API server was asked.
func clientOf(t *testing.T, objects ...client.Object) (c *Client, reads *atomic.Int32) {
	t.Helper()
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	kept := make([]client.Object, len(objects))
	for i, object := range objects {
		transformed, err := Transform(object.DeepCopyObject())
		g.Expect(err).NotTo(HaveOccurred())
		kept[i], _ = transformed.(client.Object)
	}
	reads = &atomic.Int32{}
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, o ...client.GetOption) error {
			reads.Add(1)
			return c.Get(ctx, key, into, o...)
		},
	}).Build()
	return NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(kept...).Build(), live), reads
}

func TestGetReturnsTheWhole(t *testing.T) {
	g := NewWithT(t)
	author, small := large(), builder.Connection("shop", "small", map[string]any{"a": 1})
	c, reads := clientOf(t, author, small)
	for range 3 {
		got := &v1alpha1.Connection{}
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(author), got)).To(Succeed())
		g.Expect(got.Spec).To(Equal(author.Spec))
		got.Spec.Value = nil // what is remembered is not the caller's
	}
	g.Expect(reads.Load()).To(BeEquivalentTo(1))
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(small), &v1alpha1.Connection{})).To(Succeed())
	g.Expect(reads.Load()).To(BeEquivalentTo(1), "what is small is in the cache")
	g.Expect(client.IgnoreNotFound(c.Get(t.Context(), client.ObjectKey{Name: "none"}, &v1alpha1.Connection{}))).To(Succeed())

	list := &v1alpha1.ConnectionList{}
	g.Expect(c.List(t.Context(), list)).To(Succeed())
	g.Expect(list.Items).To(HaveLen(2))
	g.Expect(list.Items[0].Spec.Value).To(BeEmpty())
	g.Expect(c.wholes.Len()).To(Equal(1))
}

func TestTheCacheKnowsTheStatusAndTheAPIServerTheSpec(t *testing.T) {
	g := NewWithT(t)
	author := large()
	c, _ := clientOf(t, author)
	key := client.ObjectKeyFromObject(author)
	kept := &v1alpha1.Connection{}
	g.Expect(c.Client.Get(t.Context(), key, kept)).To(Succeed())
	kept.Status.ObservedGeneration = 7
	g.Expect(c.Client.Update(t.Context(), kept)).To(Succeed())
	got := &v1alpha1.Connection{}
	g.Expect(c.Get(t.Context(), key, got)).To(Succeed())
	g.Expect(got.Status.ObservedGeneration).To(BeEquivalentTo(7))
	g.Expect(got.ResourceVersion).To(Equal(kept.ResourceVersion), "a write of status is compared with what the cache knows")
	g.Expect(got.Spec.Value).To(HaveLen(16_000))
}

func TestATaskIsReadAnewEachTime(t *testing.T) {
	g := NewWithT(t)
	task := builder.VaultTask("shop", "write", v1alpha1.OperationWrite, "db")
	task.Spec.Data = map[string]v1alpha1.TaskValue{"large": v1alpha1.TaskValue(strings.Repeat("x", 100_000))}
	c, reads := clientOf(t, task)
	for range 2 {
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(task), &v1alpha1.VaultTask{})).To(Succeed())
	}
	g.Expect(reads.Load()).To(BeEquivalentTo(2))
	g.Expect(c.fetches.Inside("shop")).To(BeZero())
}

func TestWhoeverWritesTheMarkGetsTheWholeAllTheSame(t *testing.T) {
	g := NewWithT(t)
	for _, size := range []string{"-1", "99999999999999999999999", "x", ""} {
		author := builder.Connection("shop", "db", map[string]any{"a": 1})
		author.Annotations = map[string]string{sizeAnnotation: size}
		c, _ := clientOf(t, author)
		got := &v1alpha1.Connection{}
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(author), got)).To(Succeed())
		g.Expect(got.Spec).To(Equal(author.Spec))
		g.Expect(Is(got)).To(BeFalse())
	}
}

func TestWhereOthersTakeTheMemoryForReadingTheFaultSaysSo(t *testing.T) {
	g := NewWithT(t)
	author := large()
	c, reads := clientOf(t, author)
	leave, entered := c.fetches.TryEnter(author.Namespace, heap.FetchingShare)
	g.Expect(entered).To(BeTrue())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := c.Get(ctx, client.ObjectKeyFromObject(author), &v1alpha1.Connection{})
	g.Expect(fault.Is(err, v1alpha1.ReasonRateLimited)).To(BeTrue(), "%v", err)
	g.Expect(fault.From(err).Message()).To(And(ContainSubstring(author.Name), ContainSubstring("this passes")))
	g.Expect(reads.Load()).To(BeZero())
	leave()
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(author), &v1alpha1.Connection{})).To(Succeed())
}

func TestAPanicOfOneReadIsItsFault(t *testing.T) {
	g := NewWithT(t)
	author := large()
	c, _ := clientOf(t, author)
	c.live = nil
	err := c.Get(t.Context(), client.ObjectKeyFromObject(author), &v1alpha1.Connection{})
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue(), "%v", err)
	g.Expect(c.fetches.Inside(author.Namespace)).To(BeZero())
}
