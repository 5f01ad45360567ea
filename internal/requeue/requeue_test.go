package requeue

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestWhenToComeBack(t *testing.T) {
	g := NewWithT(t)
	result, err := For(fault.Transient(v1alpha1.ReasonVaultUnreachable, "down"))
	g.Expect(err).To(MatchError("down"), "the queue backs off")
	g.Expect(errors.Is(err, reconcile.TerminalError(nil))).To(BeFalse())
	g.Expect(result.IsZero()).To(BeTrue())

	result, err = For(fault.Waiting(v1alpha1.ReasonCredentialMissing, "none"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(waitingInterval))

	result, err = For(fault.Terminal(v1alpha1.ReasonInvalidSpec, "bad"))
	g.Expect(errors.Is(err, reconcile.TerminalError(nil))).To(BeTrue())
	g.Expect(result.IsZero()).To(BeTrue())
}

func TestBackOffIsSpreadWithinItsBounds(t *testing.T) {
	g := NewWithT(t)
	limiter := Options(VaultWorkers).RateLimiter
	pauses := map[time.Duration]bool{}
	for i := range 50 {
		request := reconcile.Request{NamespacedName: types.NamespacedName{Name: fmt.Sprint(i)}}
		for range 10 {
			limiter.When(request)
		}
		pause := limiter.When(request)
		g.Expect(pause).To(And(BeNumerically(">", MaxBackoff/2), BeNumerically("<=", MaxBackoff)))
		pauses[pause] = true
	}
	g.Expect(len(pauses)).To(BeNumerically(">", 10))
}
