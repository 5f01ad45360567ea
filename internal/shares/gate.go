package shares

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Gate lets requests in as long as the weights of those that are inside fit together. Others wait for their turn, first
// come, first served. Those of one namespace never weigh more than its share, however many wait.
type Gate struct {
	share int64
	all   *semaphore.Weighted

	mu          sync.Mutex
	byNamespace map[string]*namespaceGate
}

// namespaceGate exists while somebody uses it.
type namespaceGate struct {
	weights *semaphore.Weighted
	users   int
}

// NewGate returns a gate for that much weight in all, and for one namespace.
func NewGate(all, share int64) *Gate {
	return &Gate{share: share, all: semaphore.NewWeighted(all), byNamespace: map[string]*namespaceGate{}}
}

// Enter waits until a request of that weight fits, and returns what to call when it is over. The error is that of ctx,
// which ended earlier. What weighs more than a share waits for a whole share.
func (g *Gate) Enter(ctx context.Context, namespace string, weight int64) (leave func(), err error) {
	weight = min(weight, g.share)
	own := g.use(namespace)
	// The namespace's own gate comes first, so that those who wait at the other one are never more than a share either.
	if err := own.weights.Acquire(ctx, weight); err != nil {
		g.unuse(namespace, own)
		return nil, err
	}
	if err := g.all.Acquire(ctx, weight); err != nil {
		own.weights.Release(weight)
		g.unuse(namespace, own)
		return nil, err
	}
	return g.leave(namespace, own, weight), nil
}

// TryEnter is Enter for what cannot wait, because it holds something already: false if there is no room now.
func (g *Gate) TryEnter(namespace string, weight int64) (leave func(), entered bool) {
	own := g.use(namespace)
	if !own.weights.TryAcquire(weight) {
		g.unuse(namespace, own)
		return nil, false
	}
	if !g.all.TryAcquire(weight) {
		own.weights.Release(weight)
		g.unuse(namespace, own)
		return nil, false
	}
	return g.leave(namespace, own, weight), true
}

func (g *Gate) leave(namespace string, own *namespaceGate, weight int64) func() {
	return sync.OnceFunc(func() {
		g.all.Release(weight)
		own.weights.Release(weight)
		g.unuse(namespace, own)
	})
}

func (g *Gate) use(namespace string) *namespaceGate {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.byNamespace[namespace]
	if own == nil {
		own = &namespaceGate{weights: semaphore.NewWeighted(g.share)}
		g.byNamespace[namespace] = own
	}
	own.users++
	return own
}

func (g *Gate) unuse(namespace string, own *namespaceGate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(g.byNamespace, namespace)
	}
}
