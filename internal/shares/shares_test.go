package shares

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
)

func TestANamespaceGetsNoMoreThanItsShareOfAGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		gate := NewGate(4, 2)
		var mu sync.Mutex
		inside := map[string]int{}
		var leaves []func()
		for _, namespace := range []string{"greedy", "greedy", "greedy", "greedy", "other"} {
			go func() {
				leave, err := gate.Enter(t.Context(), namespace, 1)
				g.Expect(err).NotTo(HaveOccurred())
				mu.Lock()
				defer mu.Unlock()
				inside[namespace]++
				leaves = append(leaves, leave)
			}()
			synctest.Wait()
		}
		mu.Lock()
		g.Expect(inside).To(Equal(map[string]int{"greedy": 2, "other": 1}))
		for len(leaves) > 0 {
			leave := leaves[0]
			leaves = leaves[1:]
			mu.Unlock()
			leave()
			leave() // a second time changes nothing
			synctest.Wait()
			mu.Lock()
		}
		defer mu.Unlock()
		g.Expect(inside).To(Equal(map[string]int{"greedy": 4, "other": 1}))
		g.Expect(gate.namespaces.Len()).To(BeZero(), "nothing is kept of namespaces that are not inside")
	})
}

func TestAGateIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		gate := NewGate(4, 2)
		leave, err := gate.Enter(t.Context(), "a", 100)
		g.Expect(err).NotTo(HaveOccurred(), "more than a share is a whole share")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = gate.Enter(ctx, "a", 1)
		g.Expect(err).To(MatchError(context.DeadlineExceeded))
		leave()
		leave, err = gate.Enter(t.Context(), "a", 2)
		g.Expect(err).NotTo(HaveOccurred(), "who gave up holds nothing")
		leave()
		g.Expect(gate.namespaces.Len()).To(BeZero())
	})
}

func TestWhatCannotWaitIsRefused(t *testing.T) {
	g := NewWithT(t)
	gate := NewGate(4, 3)
	leave, entered := gate.TryEnter("a", 3)
	g.Expect(entered).To(BeTrue())
	_, entered = gate.TryEnter("a", 1)
	g.Expect(entered).To(BeFalse(), "its share")
	_, entered = gate.TryEnter("b", 2)
	g.Expect(entered).To(BeFalse(), "all there is")
	_, entered = gate.TryEnter("b", 1)
	g.Expect(entered).To(BeTrue())
	leave()
	_, entered = gate.TryEnter("a", 3)
	g.Expect(entered).To(BeTrue())
}
