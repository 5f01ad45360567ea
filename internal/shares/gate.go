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

	mu     sync.Mutex
	inside int64
	// came is how many have waited so far.
	came int64
	of   map[string]*tenant
	// waiting are the tenants that have somebody waiting. Of none does the first one fit, unless admit is about to be
	// called.
	waiting map[*tenant]struct{}
}

// tenant is a namespace: the weight of its requests that are inside, and those that wait, in the order in which they
// came.
type tenant struct {
	inside  int64
	waiting []*waiter
}

type waiter struct {
	number  int64
	weight  int64
	entered chan struct{}
}

// NewGate returns a gate for that much weight in all, and for one namespace.
func NewGate(all, share int64) *Gate {
	return &Gate{all: all, share: share, of: map[string]*tenant{}, waiting: map[*tenant]struct{}{}}
}

// Enter waits until a request of that weight fits, and returns what to call when it is over. The error is that of ctx,
// which ended earlier. What weighs more than a share waits for a whole share.
func (g *Gate) Enter(ctx context.Context, namespace string, weight int64) (leave func(), err error) {
	weight = min(weight, g.share)
	w := g.join(namespace, weight)
	if w == nil {
		return g.leave(namespace, weight), nil
	}
	select {
	case <-w.entered:
		return g.leave(namespace, weight), nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenant(namespace)
	if at := slices.Index(t.waiting, w); at >= 0 {
		t.waiting = slices.Delete(t.waiting, at, at+1)
	} else {
		g.give(t, weight) // it entered at the same moment
	}
	g.tidy(namespace, t)
	g.admit()
	return nil, ctx.Err()
}

// join lets a request in, or has it wait behind the others of its namespace. For the others that changes nothing.
func (g *Gate) join(namespace string, weight int64) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenant(namespace)
	if len(t.waiting) == 0 && g.fits(t, weight) {
		g.take(t, weight)
		return nil
	}
	g.came++
	w := &waiter{number: g.came, weight: weight, entered: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	g.waiting[t] = struct{}{}
	return w
}

// TryEnter is Enter for what cannot wait, because it holds something already: false if there is no room now.
func (g *Gate) TryEnter(namespace string, weight int64) (leave func(), entered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenant(namespace)
	if !g.fits(t, weight) {
		g.tidy(namespace, t)
		return nil, false
	}
	g.take(t, weight)
	return g.leave(namespace, weight), true
}

// Inside is the weight of a namespace's requests that are inside.
func (g *Gate) Inside(namespace string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.of[namespace]; t != nil {
		return t.inside
	}
	return 0
}

func (g *Gate) leave(namespace string, weight int64) func() {
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		t := g.tenant(namespace)
		g.give(t, weight)
		g.tidy(namespace, t)
		g.admit()
	})
}

// admit lets in whoever fits, in the order in which they came. One that does not fit holds up those of its namespace
// only: whoever comes first of those that each namespace has first, and fits, is next. The caller holds the lock.
func (g *Gate) admit() {
	for {
		var next *tenant
		for t := range g.waiting {
			if (next == nil || t.waiting[0].number < next.waiting[0].number) && g.fits(t, t.waiting[0].weight) {
				next = t
			}
		}
		if next == nil {
			return
		}
		w := next.waiting[0]
		next.waiting[0] = nil // or the slice would keep it
		if next.waiting = next.waiting[1:]; len(next.waiting) == 0 {
			delete(g.waiting, next)
		}
		g.take(next, w.weight)
		close(w.entered)
	}
}

func (g *Gate) fits(t *tenant, weight int64) bool {
	mine, left := t.inside+weight, g.all-g.inside-weight
	return mine <= min(g.share, left)
}

func (g *Gate) take(t *tenant, weight int64) {
	g.inside += weight
	t.inside += weight
}

func (g *Gate) give(t *tenant, weight int64) {
	g.inside -= weight
	t.inside -= weight
}

// tenant returns that of a namespace, which is remembered until it is tidied away. Who weighs nothing is inside without
// that, and makes it anew when it leaves.
func (g *Gate) tenant(namespace string) *tenant {
	if g.of[namespace] == nil {
		g.of[namespace] = &tenant{}
	}
	return g.of[namespace]
}

// tidy forgets a tenant of which nothing is inside and nobody waits.
func (g *Gate) tidy(namespace string, t *tenant) {
	if len(t.waiting) > 0 {
		return
	}
	delete(g.waiting, t)
	if t.inside == 0 {
		delete(g.of, namespace)
	}
}
