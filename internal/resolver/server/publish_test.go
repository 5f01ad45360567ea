package server

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"
)

// The fake client stands only where an outage of the API server is needed at one exact moment.
func TestARotationWaitsForAnAPIServerThatIsDown(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Now())
	certificate, err := NewServingCertificate("sallyport-controller-0", net.ParseIP("10.1.2.3"), clk)
	g.Expect(err).NotTo(HaveOccurred())
	clients := fake.NewClientset()
	p := NewPublisher(clients.CoreV1().ConfigMaps("sallyport-system"), certificate, logr.Discard())
	g.Expect(p.Ready(nil)).NotTo(Succeed())
	g.Expect(p.publish(t.Context())).To(Succeed())
	g.Expect(p.Ready(nil)).To(Succeed())
	first := serving(t, certificate)

	down := true
	clients.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return down, nil, errors.New("the API server is down")
	})
	clk.SetTime(clk.Now().Add(certificateLife/2 + time.Second))
	for range 3 {
		g.Expect(p.publish(t.Context())).NotTo(Succeed())
		g.Expect(serving(t, certificate).Equal(first)).To(BeTrue(), "no node can know the next certificate yet")
	}
	down = false
	g.Expect(p.publish(t.Context())).To(Succeed())
	g.Expect(serving(t, certificate).Equal(first)).To(BeTrue(), "nodes need a moment to see it")
	g.Expect(certificates(t, certificate)).To(HaveLen(2))
	g.Expect(p.publish(t.Context())).To(Succeed())
	g.Expect(serving(t, certificate).Equal(first)).To(BeFalse())
}
