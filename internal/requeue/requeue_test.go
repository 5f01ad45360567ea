package requeue

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestWhenToComeBack(t *testing.T) {
	g := NewWithT(t)
	result, err := For(fault.New(v1alpha1.ReasonVaultUnreachable, "down"))
	g.Expect(err).To(MatchError("down"), "the queue backs off")
	g.Expect(errors.Is(err, reconcile.TerminalError(nil))).To(BeFalse())
	g.Expect(result.IsZero()).To(BeTrue())

	result, err = For(fault.Wait(v1alpha1.ReasonCredentialMissing, "none"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.RequeueAfter).To(Equal(waiting))

	result, err = For(fault.Invalid(v1alpha1.ReasonInvalidSpec, "bad"))
	g.Expect(errors.Is(err, reconcile.TerminalError(nil))).To(BeTrue())
	g.Expect(result.IsZero()).To(BeTrue())
}
