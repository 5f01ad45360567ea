package volume

import (
	"context"
	"sync"
)

// Locks is one lock for each volume ID that somebody holds or waits for. k8s.io/utils/keymutex does not do: its waits
// do not end with a context, and volumes share its locks by hash, so that one would wait for another's resolver.
type Locks struct {
	mu    sync.Mutex
	locks map[string]*idLock
}

type idLock struct {
	held  chan struct{}
	users int
}

// NewLocks returns locks that nobody holds.
func NewLocks() *Locks { return &Locks{locks: map[string]*idLock{}} }

// Lock waits until nobody else holds id, or until ctx ends. On success the caller must call unlock.
func (l *Locks) Lock(ctx context.Context, id string) (unlock func(), err error) {
	l.mu.Lock()
	lock := l.locks[id]
	if lock == nil {
		lock = &idLock{held: make(chan struct{}, 1)}
		l.locks[id] = lock
	}
	lock.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if lock.users--; lock.users == 0 {
			delete(l.locks, id)
		}
	}
	select {
	case lock.held <- struct{}{}:
		return func() { <-lock.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
