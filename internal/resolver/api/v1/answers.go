package resolverv1

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Answers bound how many responses of a resolver a node plugin has in memory, each from its first byte until it is
// written. Requests wait for their answers at the same time, for that costs nothing; what is left in the window of a
// stream meanwhile is little.
type Answers struct{ places *semaphore.Weighted }

// NewAnswers returns a bound for so many.
func NewAnswers(most int64) *Answers { return &Answers{places: semaphore.NewWeighted(most)} }

type answerKey struct{}

// place is that of one answer, once it comes.
type place struct {
	of    *Answers
	mu    sync.Mutex
	taken bool
}

// Hold returns a context for one request, whose answer counts from when it comes until done is called.
func (a *Answers) Hold(ctx context.Context) (_ context.Context, done func()) {
	p := &place{of: a}
	return context.WithValue(ctx, answerKey{}, p), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.taken {
			p.taken = false
			a.places.Release(1)
		}
	}
}

// AwaitPlace waits until there is a place for the answer to a request of this context, which is about to be received.
func AwaitPlace(ctx context.Context) error {
	p, ok := ctx.Value(answerKey{}).(*place)
	if !ok {
		return nil // of a caller that bounds nothing
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken {
		return nil // another replica is asked the same
	}
	if err := p.of.places.Acquire(ctx, 1); err != nil {
		return err
	}
	p.taken = true
	return nil
}
