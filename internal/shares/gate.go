package shares

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Gate lets requests in as long as the weights of those that are inside fit together. Others wait for their turn, first
// come, first served. Those of one namespace never weigh more than its share, however many wait.
type Gate struct {
	share      int64
	all        *semaphore.Weighted
	namespaces *Turns[string]
}

// NewGate returns a gate for that much weight in all, and for one namespace.
func NewGate(all, share int64) *Gate {
	return &Gate{share: share, all: semaphore.NewWeighted(all), namespaces: NewTurns[string](share)}
}

// Enter waits until a request of that weight fits, and returns what to call when it is over. The error is that of ctx,
// which ended earlier. What weighs more than a share waits for a whole share.
func (g *Gate) Enter(ctx context.Context, namespace string, weight int64) (leave func(), err error) {
	weight = min(weight, g.share)
	// The namespace's own share comes first, so that those who wait for all are never more than a share either.
	release, err := g.namespaces.Acquire(ctx, namespace, weight)
	if err != nil {
		return nil, err
	}
	if err := g.all.Acquire(ctx, weight); err != nil {
		release()
		return nil, err
	}
	return g.leave(release, weight), nil
}

// TryEnter is Enter for what cannot wait, because it holds something already: false if there is no room now.
func (g *Gate) TryEnter(namespace string, weight int64) (leave func(), entered bool) {
	release, entered := g.namespaces.TryAcquire(namespace, weight)
	if !entered {
		return nil, false
	}
	if !g.all.TryAcquire(weight) {
		release()
		return nil, false
	}
	return g.leave(release, weight), true
}

func (g *Gate) leave(release func(), weight int64) func() {
	return sync.OnceFunc(func() {
		g.all.Release(weight)
		release()
	})
}
