package session

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestBackoff(t *testing.T) {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	a, b := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b"))
	no := errors.New("no")

	t.Run("doubles its pauses up to a bound", func(t *testing.T) {
		g := NewWithT(t)
		tested := newBackoff(30*time.Second, 5*time.Minute)
		g.Expect(tested.held(start)).To(BeFalse())
		now := start
		for _, pause := range []time.Duration{
			30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute,
		} {
			tested.fail(now, a, no)
			g.Expect(tested.heldFor(now.Add(pause-1), a)).To(MatchError(no))
			now = now.Add(pause)
			g.Expect(tested.heldFor(now, a)).To(Succeed())
		}
		tested.reset()
		g.Expect(tested.err).NotTo(HaveOccurred())
		tested.fail(now, a, no)
		g.Expect(tested.held(now.Add(30*time.Second))).To(BeFalse(), "the first pause again")
	})
	t.Run("is about one credential", func(t *testing.T) {
		g := NewWithT(t)
		tested := newLoginBackoff()
		tested.fail(start, a, no)
		tested.fail(start, a, no)
		g.Expect(tested.heldFor(start, b)).To(Succeed())
		tested.fail(start, b, no)
		g.Expect(tested.heldFor(start.Add(29*time.Second), b)).To(MatchError(no))
		g.Expect(tested.held(start.Add(30*time.Second))).To(BeFalse(), "the first pause again")
	})
	t.Run("notes an error without holding anything back", func(t *testing.T) {
		g := NewWithT(t)
		tested := newLoginBackoff()
		tested.note(a, no)
		g.Expect(tested.held(start)).To(BeFalse())
		g.Expect(tested.last(a)).To(MatchError(no))
		g.Expect(tested.last(b)).To(Succeed())
	})
	t.Run("holds without a failure, for as long as the last one asked for", func(t *testing.T) {
		g := NewWithT(t)
		tested := newPolicyRecheck()
		tested.hold(start)
		g.Expect(tested.held(start.Add(5*time.Minute - 1))).To(BeTrue())
		g.Expect(tested.held(start.Add(5 * time.Minute))).To(BeFalse())
		tested.fail(start, [sha256.Size]byte{}, nil)
		g.Expect(tested.held(start.Add(10*time.Minute - 1))).To(BeTrue())
		tested.hold(start.Add(time.Hour))
		g.Expect(tested.held(start.Add(time.Hour + 10*time.Minute - 1))).To(BeTrue())
		g.Expect(tested.held(start.Add(time.Hour + 10*time.Minute))).To(BeFalse())
	})
}
