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

func TestAMistakeHasVaultIssueEverLess(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	b := newIssueBackoff(clk)
	missing := fault.Waiting(v1alpha1.ReasonKeyMissing, "no such key")
	g.Expect(b.Blocked("a")).To(Succeed())
	for _, seconds := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
		b.Failed("shop", "a", missing)
		b.Failed("shop", "a", missing) // another volume, at the same time
		clk.SetTime(clk.Now().Add(time.Duration(seconds)*time.Second - 1))
		g.Expect(b.Blocked("a")).To(MatchError(missing))
		clk.SetTime(clk.Now().Add(1))
		g.Expect(b.Blocked("a")).To(Succeed())
	}
	b.Failed("shop", "a", fault.Transient(v1alpha1.ReasonVaultError, "the database is away"))
	clk.SetTime(clk.Now().Add(maxTransientIssuePause))
	g.Expect(b.Blocked("a")).To(Succeed(), "that goes away by itself")
	b.Failed("shop", "a", missing)
	g.Expect(b.Blocked("b")).To(Succeed(), "another Connection")
	b.Reset("a")
	g.Expect(b.Blocked("a")).To(Succeed())

	b.Failed("victim", "v", missing)
	for i := range 2 * maxIssueFailures {
		b.Failed("greedy", fmt.Sprint(i), missing)
	}
	g.Expect(b.Blocked("v")).To(MatchError(missing), "the failures of another namespace are no reason to forget it")
	g.Expect(b.failures.Len()).To(BeNumerically("<=", maxFailuresOfNamespace+2))
	clk.SetTime(clk.Now().Add(2 * maxIssuePause))
	g.Expect(b.Blocked("v")).To(Succeed())
}
