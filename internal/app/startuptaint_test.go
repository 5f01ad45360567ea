package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
)

func TestStartupTaintGoesWhenTheKubeletHasAcceptedTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		other := corev1.Taint{Key: "example.com/dedicated", Value: "shop", Effect: corev1.TaintEffectNoSchedule}
		ours := corev1.Taint{Key: v1alpha1.StartupTaint, Effect: corev1.TaintEffectNoExecute}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{ours, other}}}
		clients := fake.NewClientset(node)
		failures := 2
		clients.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			failures--
			return failures >= 0, nil, errors.New("not now")
		})
		taints := func() []corev1.Taint {
			found, err := clients.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			return found.Spec.Taints
		}
		taint := newStartupTaint(clients.CoreV1().Nodes(), "n", logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		go taint.run(ctx)

		time.Sleep(time.Hour)
		g.Expect(taints()).To(ConsistOf(ours, other), "before the kubelet has accepted the driver")
		taint.registered()
		taint.registered()
		time.Sleep(10 * time.Second)
		g.Expect(taints()).To(ConsistOf(other), "after two failures")

		// A kubelet makes its Node anew.
		_, err := clients.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		taint.registered()
		time.Sleep(time.Second)
		g.Expect(taints()).To(ConsistOf(other))
		cancel()
	})
}
