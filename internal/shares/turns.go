package shares

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Turns are semaphores of one size by key, each of which exists while somebody has or wants a part of it. They are safe
// for concurrent use.
type Turns[K comparable] struct {
	size int64

	mu    sync.Mutex
	byKey map[K]*turn
}

type turn struct {
	weights *semaphore.Weighted
	users   int
	held    int64
}

// NewTurns returns semaphores of that size.
func NewTurns[K comparable](size int64) *Turns[K] {
	return &Turns[K]{size: size, byKey: map[K]*turn{}}
}

// Acquire waits for a part of the key's semaphore, and returns what to call when it is over. The error is that of ctx,
// which ended earlier.
func (t *Turns[K]) Acquire(ctx context.Context, key K, weight int64) (release func(), err error) {
	mine := t.use(key)
	if err := mine.weights.Acquire(ctx, weight); err != nil {
		t.unuse(key, mine, 0)
		return nil, err
	}
	return t.hold(key, mine, weight), nil
}

// TryAcquire is Acquire for what cannot wait: false if there is no such part now.
func (t *Turns[K]) TryAcquire(key K, weight int64) (release func(), acquired bool) {
	mine := t.use(key)
	if !mine.weights.TryAcquire(weight) {
		t.unuse(key, mine, 0)
		return nil, false
	}
	return t.hold(key, mine, weight), true
}

// Len is the number of keys that are in use.
func (t *Turns[K]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byKey)
}

// Of is how much of a key's semaphore is taken, and how many have or want a part of it.
func (t *Turns[K]) Of(key K) (held int64, users int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine := t.byKey[key]; mine != nil {
		return mine.held, mine.users
	}
	return 0, 0
}

func (t *Turns[K]) use(key K) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine := t.byKey[key]
	if mine == nil {
		mine = &turn{weights: semaphore.NewWeighted(t.size)}
		t.byKey[key] = mine
	}
	mine.users++
	return mine
}

func (t *Turns[K]) hold(key K, mine *turn, weight int64) (release func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine.held += weight
	return sync.OnceFunc(func() {
		mine.weights.Release(weight)
		t.unuse(key, mine, weight)
	})
}

// unuse says that somebody neither has nor wants a part any more.
func (t *Turns[K]) unuse(key K, mine *turn, weight int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine.held -= weight
	if mine.users--; mine.users == 0 {
		delete(t.byKey, key)
	}
}
