package vaulttask

import (
	"context"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/controllers/vaulttask/claims"
	"sallyport.dev/sallyport/test/builder"
)

// The race detector sees what this is about: one run claims again and again, as it does after every writer that comes
// in between, while other tasks end and all that is known of their claims is forgotten.
func TestClaimsAreMadeWhileOthersAreForgotten(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db")
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(task).WithStatusSubresource(task).Build()
	r := &Reconciler{client: c, claims: claims.NewStore[outcome](),
		own: ownSessions{uids: map[types.NamespacedName]types.UID{}}}
	a := &attempt{Reconciler: r, task: task}
	g.Expect(c.Get(context.Background(), types.NamespacedName{Namespace: "shop", Name: "rotate"}, task)).To(Succeed())

	var others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.forget(types.NamespacedName{Namespace: "shop", Name: "other"})
			}
		}
	})
	for range 20 {
		g.Expect(a.claim(context.Background(), &v1alpha1.TaskClaim{})).To(Succeed())
		a.state.Calling(map[string]any{"a": "b"})
	}
	close(stop)
	others.Wait()
	g.Expect(r.claims.Get(types.NamespacedName{}, task.Status.Claim)).To(BeIdenticalTo(a.state))
}
