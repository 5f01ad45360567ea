package resolver

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAMistakeHasVaultMakeEverLess(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	b := brakes{clock: clk, known: map[string]*brake{}}
	missing := fault.Waiting(v1alpha1.ReasonKeyMissing, "no such key")
	g.Expect(b.on("a")).To(Succeed())
	for _, seconds := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
		b.wasted("a", missing)
		b.wasted("a", missing) // another volume, at the same time
		clk.SetTime(clk.Now().Add(time.Duration(seconds)*time.Second - 1))
		g.Expect(b.on("a")).To(MatchError(missing))
		clk.SetTime(clk.Now().Add(1))
		g.Expect(b.on("a")).To(Succeed())
	}
	b.wasted("a", fault.Transient(v1alpha1.ReasonVaultError, "the database is away"))
	clk.SetTime(clk.Now().Add(brakeRetry))
	g.Expect(b.on("a")).To(Succeed(), "that goes away by itself")
	b.wasted("a", missing)
	g.Expect(b.on("b")).To(Succeed(), "another Connection")
	b.used("a")
	g.Expect(b.on("a")).To(Succeed())

	for i := range brakesRemembered {
		b.wasted(fmt.Sprint(i), missing)
	}
	b.wasted("one more", missing)
	g.Expect(b.on("one more")).To(Succeed())
	clk.SetTime(clk.Now().Add(2 * brakeMax))
	b.wasted("one more", missing)
	g.Expect(b.on("one more")).To(MatchError(missing))
	g.Expect(b.known).To(HaveLen(1))
}
