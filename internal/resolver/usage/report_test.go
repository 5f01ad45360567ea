package usage

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubernetesfake "k8s.io/client-go/kubernetes/fake"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
)

func TestAStatusThatIsRefusedHoldsUpNoOther(t *testing.T) {
	g := NewWithT(t)
	scheme := runtime.NewScheme()
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	first, second := builder.Connection("shop", "a", nil), builder.Connection("shop", "b", nil)
	refused := errors.New("the API server does not take it")
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(first, second).WithStatusSubresource(first).
		WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(
			ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption,
		) error {
			if o.GetName() == first.Name {
				return refused
			}
			return c.SubResource(sub).Patch(ctx, o, patch, options...)
		}}).Build()
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	tracker := NewVolumeTracker(clk)
	for _, connection := range []*v1alpha1.Connection{first, second} {
		tracker.Served(client.ObjectKeyFromObject(connection), NewVolumeID("pod", nil), nil, time.Minute)
	}
	published := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: resolverv1.ConfigMapName}, Data: map[string]string{"r": "a certificate"},
	}
	reporter := NewMountStatusReporter(ReporterOptions{
		Volumes: tracker, Client: api, ConfigMaps: kubernetesfake.NewClientset(published).CoreV1().ConfigMaps("system"), Replica: "r",
		RefreshInterval: func(*v1alpha1.Connection) time.Duration { return time.Minute }, Clock: clk, Log: logr.Discard(),
	})

	g.Expect(reporter.report(t.Context())).To(MatchError(refused))
	g.Expect(api.Get(t.Context(), client.ObjectKeyFromObject(second), second)).To(Succeed())
	g.Expect(second.Status.Mounts).To(HaveField("Volumes", HaveValue(BeEquivalentTo(1))))
}
