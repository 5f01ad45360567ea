package shares

import (
	"context"
	"fmt"
	"slices"
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
		g.Expect(gate.of).To(BeEmpty(), "nothing is kept of namespaces that are not inside")
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
		g.Expect(gate.of).To(BeEmpty())
		g.Expect(gate.waiting).To(BeEmpty())
	})
}

// Whoever leaves, or gives up, looks at one request of each namespace, however many wait: else a crowd would take the
// processors from everybody.
func TestACrowdAtAGateCostsNobodyMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		gate := NewGate(20, 10)
		const crowd, others = 2000, 3
		var order []int
		var mu sync.Mutex
		enter := func(namespace string, weight int64, number int) {
			leave, err := gate.Enter(t.Context(), namespace, weight)
			g.Expect(err).NotTo(HaveOccurred())
			mu.Lock()
			order = append(order, number)
			mu.Unlock()
			time.Sleep(time.Second)
			leave()
		}
		for i := range crowd {
			go enter("greedy", 10, i)
			synctest.Wait() // so that it is known who came first
		}
		for i := range others {
			go enter(fmt.Sprint("other", i), 5, -1-i)
		}
		synctest.Wait()
		gate.mu.Lock()
		waiting := len(gate.waiting)
		gate.mu.Unlock()
		g.Expect(waiting).To(Equal(3), "the greedy one, and two for whom there is no room yet")
		time.Sleep((crowd + others) * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		g.Expect(order).To(HaveLen(crowd + others))
		var greedy []int
		for at, number := range order {
			if number >= 0 {
				greedy = append(greedy, number)
			} else {
				g.Expect(at).To(BeNumerically("<", 10), "nobody waits for the crowd of another namespace")
			}
		}
		g.Expect(slices.IsSorted(greedy)).To(BeTrue(), "first come, first served")
		g.Expect(gate.of).To(BeEmpty())
		g.Expect(gate.waiting).To(BeEmpty())
	})
}

func TestWhoWeighsNothingIsInsideAlone(t *testing.T) {
	g := NewWithT(t)
	gate := NewGate(4, 2)
	first, entered := gate.TryEnter("a", 0)
	g.Expect(entered).To(BeTrue())
	second, err := gate.Enter(t.Context(), "a", 0)
	g.Expect(err).NotTo(HaveOccurred())
	first()
	second()
	g.Expect(gate.of).To(BeEmpty())
}

func BenchmarkACrowdAtAGate(b *testing.B) {
	for _, crowd := range []int{10, 1000} {
		b.Run(fmt.Sprint(crowd), func(b *testing.B) {
			gate := NewGate(10, 2)
			ctx, cancel := context.WithCancel(b.Context())
			var waiting sync.WaitGroup
			leave, _ := gate.Enter(ctx, "greedy", 2)
			for range crowd {
				waiting.Go(func() {
					if itsOwn, err := gate.Enter(ctx, "greedy", 1); err == nil {
						itsOwn()
					}
				})
			}
			for b.Loop() {
				others, _ := gate.Enter(ctx, "other", 1)
				others()
			}
			cancel()
			leave()
			waiting.Wait()
		})
	}
}

func TestManyNamespacesLeaveRoomForOneMore(t *testing.T) {
	g := NewWithT(t)
	gate := NewGate(1000, 250)
	taken := int64(0)
	for i := range 6 {
		for {
			if _, entered := gate.TryEnter(fmt.Sprint("greedy", i), 1); !entered {
				break
			}
			taken++
		}
	}
	g.Expect(taken).To(BeNumerically("<", 1000))
	_, entered := gate.TryEnter("victim", 10)
	g.Expect(entered).To(BeTrue(), "of 1000, %d are taken", taken)
}

func TestWhatCannotWaitIsRefused(t *testing.T) {
	g := NewWithT(t)
	gate := NewGate(6, 3)
	leave, entered := gate.TryEnter("a", 3)
	g.Expect(entered).To(BeTrue())
	_, entered = gate.TryEnter("a", 1)
	g.Expect(entered).To(BeFalse(), "its share")
	_, entered = gate.TryEnter("b", 2)
	g.Expect(entered).To(BeFalse(), "more than would be left")
	_, entered = gate.TryEnter("b", 1)
	g.Expect(entered).To(BeTrue())
	leave()
	_, entered = gate.TryEnter("a", 2)
	g.Expect(entered).To(BeTrue())
}

func TestACacheIsDividedAmongNamespaces(t *testing.T) {
	g := NewWithT(t)
	c := NewCache[string, int](100, 40)
	for i := range 10 {
		c.Add("greedy", fmt.Sprint("g", i), i, 10)
	}
	g.Expect(c.Len()).To(Equal(4), "a share")
	_, found := c.Get("g5")
	g.Expect(found).To(BeFalse(), "the oldest gave way")
	_, found = c.Get("g6")
	g.Expect(found).To(BeTrue())
	c.Add("greedy", "g10", 10, 10)
	_, found = c.Get("g6")
	g.Expect(found).To(BeTrue(), "it was asked for")
	_, found = c.Get("g7")
	g.Expect(found).To(BeFalse())

	c.Add("victim", "v0", 1, 10)
	for _, namespace := range []string{"second", "third", "fourth"} {
		for i := range 10 {
			c.Add(namespace, fmt.Sprint(namespace, i), i, 10)
		}
	}
	g.Expect(c.weight).To(BeNumerically("<=", 100))
	_, found = c.Get("v0")
	g.Expect(found).To(BeTrue(), "whoever has the most gives way")

	c.Add("victim", "v0", 2, 20)
	value, _ := c.Get("v0")
	g.Expect(value).To(Equal(2))
	g.Expect(c.namespaces["victim"].weight).To(BeEquivalentTo(20))
	c.Add("victim", "large", 1, 41)
	_, found = c.Get("large")
	g.Expect(found).To(BeFalse(), "more than a share")
	c.RemoveFunc(func(string, int) bool { return true })
	g.Expect(c.weight).To(BeZero())
	g.Expect(c.namespaces).To(BeEmpty())
}
