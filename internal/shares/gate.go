package shares

import (
	"context"
	"slices"
	"sync"
)

// Gate lets requests in as long as the weights of those that are inside fit together. Others wait for their turn, first
// come, first served within a namespace. Those of one namespace never weigh more than its share, and never more than
// what is left for the others then: several namespaces that take all that they get leave something for one more.
type Gate struct {
	all, share int64

	mu      sync.Mutex
	inside  int64
	of      map[string]int64
	waiting []*waiter
}

type waiter struct {
	namespace string
	weight    int64
	entered   chan struct{}
}

// NewGate returns a gate for that much weight in all, and for one namespace.
func NewGate(all, share int64) *Gate {
	return &Gate{all: all, share: share, of: map[string]int64{}}
}

// Enter waits until a request of that weight fits, and returns what to call when it is over. The error is that of ctx,
// which ended earlier. What weighs more than a share waits for a whole share.
func (g *Gate) Enter(ctx context.Context, namespace string, weight int64) (leave func(), err error) {
	w := &waiter{namespace: namespace, weight: min(weight, g.share), entered: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.admit()
	g.mu.Unlock()
	select {
	case <-w.entered:
		return g.leave(namespace, w.weight), nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := slices.Index(g.waiting, w); at >= 0 {
		g.waiting = slices.Delete(g.waiting, at, at+1)
	} else {
		g.give(namespace, w.weight) // it entered at the same moment
	}
	g.admit()
	return nil, ctx.Err()
}

// TryEnter is Enter for what cannot wait, because it holds something already: false if there is no room now.
func (g *Gate) TryEnter(namespace string, weight int64) (leave func(), entered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.fits(namespace, weight) {
		return nil, false
	}
	g.take(namespace, weight)
	return g.leave(namespace, weight), true
}

// Inside is the weight of a namespace's requests that are inside.
func (g *Gate) Inside(namespace string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[namespace]
}

func (g *Gate) leave(namespace string, weight int64) func() {
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.give(namespace, weight)
		g.admit()
	})
}

// admit lets in whoever fits, in the order in which they came. One that does not fit holds up those of its namespace
// only. The caller holds the lock.
func (g *Gate) admit() {
	held := map[string]bool{}
	g.waiting = slices.DeleteFunc(g.waiting, func(w *waiter) bool {
		if held[w.namespace] || !g.fits(w.namespace, w.weight) {
			held[w.namespace] = true
			return false
		}
		g.take(w.namespace, w.weight)
		close(w.entered)
		return true
	})
}

func (g *Gate) fits(namespace string, weight int64) bool {
	mine, left := g.of[namespace]+weight, g.all-g.inside-weight
	return mine <= min(g.share, left)
}

func (g *Gate) take(namespace string, weight int64) {
	g.inside += weight
	g.of[namespace] += weight
}

func (g *Gate) give(namespace string, weight int64) {
	g.inside -= weight
	if g.of[namespace] -= weight; g.of[namespace] == 0 {
		delete(g.of, namespace)
	}
}
