package volume

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAReservationNeverExceedsTheBudgetUnlessTheBytesAreInUseAlready(t *testing.T) {
	g := NewWithT(t)
	budget := NewMemoryBudget(100)
	first, second := budget.Take(Pod{Namespace: "a"}, 0), budget.Take(Pod{Namespace: "b"}, 0)
	g.Expect(first.Resize(75)).To(Succeed())
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
	second.Charge(10)
	g.Expect(budget.Used()).To(BeZero())
	g.Expect(budget.namespaces).To(BeEmpty())
	g.Expect(budget.pods).To(BeEmpty())
}

func TestANamespaceLeavesMemoryToOthers(t *testing.T) {
	g := NewWithT(t)
	budget := NewMemoryBudget(100)
	var held []*Reservation
	fill := func(namespace string) (count int) {
		for {
			r, err := budget.ReserveVolume(Pod{Namespace: namespace, UID: fmt.Sprint(namespace, count)}, 1)
			if err != nil {
				g.Expect(fault.Is(err, v1alpha1.ReasonNodeFull)).To(BeTrue())
				g.Expect(err).To(MatchError(And(ContainSubstring("namespace "+namespace), ContainSubstring("raise the memory limit"))))
				return count
			}
			held, count = append(held, r), count+1
		}
	}
	g.Expect(fill("greedy")).To(Equal(75), "all that there is, less what others can live on")
	g.Expect(fill("second")).To(Equal(18))
	_, err := budget.ReserveVolume(Pod{Namespace: "third"}, 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(fault.Is(held[0].Resize(2), v1alpha1.ReasonNodeFull)).To(BeTrue(), "a volume does not outgrow the share")
	for _, r := range held[:75] {
		r.Release()
	}
	g.Expect(fill("second")).To(BeNumerically(">", 40), "the share follows what is left")
}

func TestAPodHasABoundedNumberOfVolumes(t *testing.T) {
	g := NewWithT(t)
	budget := NewMemoryBudget(1000)
	pod := Pod{Namespace: "shop", Name: "shop-0", UID: "uid-1"}
	var last *Reservation
	for range MaxPerPod {
		r, err := budget.ReserveVolume(pod, 1)
		g.Expect(err).NotTo(HaveOccurred())
		last = r
	}
	_, err := budget.ReserveVolume(pod, 1)
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue())
	g.Expect(err).To(MatchError(And(ContainSubstring("pod shop/shop-0 has 20 volumes"), ContainSubstring("put what it needs into fewer Connections"))))
	_, err = budget.ReserveVolume(Pod{Namespace: "shop", Name: "shop-0", UID: "uid-2"}, 1)
	g.Expect(err).NotTo(HaveOccurred(), "a pod of the same name is another")
	last.Release()
	_, err = budget.ReserveVolume(pod, 1)
	g.Expect(err).NotTo(HaveOccurred())
}
