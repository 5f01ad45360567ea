package volume

import (
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAReservationNeverExceedsTheBudgetUnlessTheBytesAreInUseAlready(t *testing.T) {
	g := NewWithT(t)
	budget := NewMemoryBudget(100)
	first, second := New("csi-1", "", PodToken{}, budget).Memory, New("csi-2", "", PodToken{}, budget).Memory
	g.Expect(first.Resize(80)).To(Succeed())
	g.Expect(fault.Is(second.Resize(30), v1alpha1.ReasonNodeFull)).To(BeTrue())
	g.Expect(second.Bytes()).To(BeZero(), "a refusal takes nothing")
	g.Expect(first.Resize(60)).To(Succeed())
	g.Expect(second.Resize(30)).To(Succeed())
	second.Charge(50)
	g.Expect(budget.Used()).To(BeEquivalentTo(140))
	g.Expect(first.Resize(50)).To(Succeed(), "whoever shrinks is not asked")

	first.Release()
	first.Release()
	second.Release()
	g.Expect(budget.Used()).To(BeZero())
}
