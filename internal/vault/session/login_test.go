package session

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestRenewAfter(t *testing.T) {
	g := NewWithT(t)
	seen := map[time.Duration]bool{}
	for _, owner := range []string{"a", "b", "c", "d", "e"} {
		after := RenewAfter(time.Hour, owner)
		g.Expect(after).To(And(BeNumerically(">", 33*time.Minute), BeNumerically("<=", 40*time.Minute)))
		g.Expect(RenewAfter(time.Hour, owner)).To(Equal(after))
		seen[after] = true
	}
	g.Expect(len(seen)).To(BeNumerically(">", 3))
	g.Expect(RenewAfter(time.Second, "a")).To(BeNumerically(">", 0))
	g.Expect(RenewAfter(876000*time.Hour, "a")).To(BeNumerically(">", 0), "no overflow in a century")
}
