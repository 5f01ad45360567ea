package restart

import (
	"context"
	"testing"

	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// TestAKindThatIsNotCachedYetIsPassedOverWithoutAWord: a leader begins with all its watches at once, and the first
// Connections come before there is an informer for workloads. Each workload is looked at when it comes into the cache.
func TestAKindThatIsNotCachedYetIsPassedOverWithoutAWord(t *testing.T) {
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	NewWithT(t).Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	workloads, namespaces := appsv1.SchemeGroupVersion.WithKind("Deployment"), corev1.SchemeGroupVersion.WithKind("Namespace")
	for name, absent := range map[string]schema.GroupVersionKind{"workloads": workloads, "namespaces": namespaces} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			asked := 0
			missing := func(o runtime.Object) error {
				of, err := apiutil.GVKForObject(o, scheme)
				g.Expect(err).NotTo(HaveOccurred())
				if of.Kind != absent.Kind && of.Kind != absent.Kind+"List" {
					return nil
				}
				asked++
				return &cache.ErrResourceNotCached{GVK: of}
			}
			cached := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
				shop(map[string]string{v1alpha1.LabelRestartOnChange: "true"}), connection(), deployment(asking()),
			).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
					if err := missing(o); err != nil {
						return err
					}
					return c.Get(ctx, key, o, options...)
				},
				List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					if err := missing(list); err != nil {
						return err
					}
					return c.List(ctx, list, options...)
				},
			}).Build()
			r := NewReconcilers(cached, cached, cached, events.NewFakeRecorder(9), clock.RealClock{})[0]
			var said []string
			ctx := log.IntoContext(t.Context(), funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{Verbosity: 9}))

			g.Expect(r.besides(ctx, connection())).To(BeEmpty())
			if absent == workloads {
				g.Expect(r.within(ctx, shop(nil))).To(BeEmpty())
			}
			result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(deployment(nil))})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(result).To(Equal(ctrl.Result{}))
			g.Expect(asked).To(BeNumerically(">=", 2))
			g.Expect(said).To(BeEmpty())
		})
	}
}
