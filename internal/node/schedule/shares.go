package schedule

import (
	"context"
	"slices"
	"sync"
)

// Ranks of work that waits for its turn.
const (
	First = iota
	Second
	Last
)

// Shares lets a bounded number of things be done at the same time, and of these a smaller number for one owner, so that
// an owner whose work hangs holds up nobody else's. What waits goes on by its rank, of the same rank first what is of
// the owner with the least under way, then what came first. golang.org/x/sync/semaphore does not do: it knows no
// owners.
type Shares struct {
	total, each int

	mu      sync.Mutex
	busy    int
	owners  map[string]int // work under way
	waiting []*turn
}

type turn struct {
	owner string
	rank  int
	begun chan struct{}
}

// NewShares returns shares of so many things in all, and for each owner.
func NewShares(total, each int) *Shares {
	return &Shares{total: total, each: each, owners: map[string]int{}}
}

// Acquire waits for the owner's turn, or until ctx ends. On success the caller must call release.
func (s *Shares) Acquire(ctx context.Context, owner string, rank int) (release func(), err error) {
	t := &turn{owner: owner, rank: rank, begun: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, t)
	s.begin()
	s.mu.Unlock()
	select {
	case <-t.begun:
		return func() { s.release(owner) }, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, t); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else {
		s.end(owner)
	}
	return nil, ctx.Err()
}

func (s *Shares) release(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(owner)
}

// end takes note that something of the owner is done. The caller holds the lock.
func (s *Shares) end(owner string) {
	s.busy--
	if s.owners[owner]--; s.owners[owner] == 0 {
		delete(s.owners, owner)
	}
	s.begin()
}

// begin lets go on whatever may. The caller holds the lock.
func (s *Shares) begin() {
	for s.busy < s.total {
		next := -1
		for i, t := range s.waiting {
			if s.owners[t.owner] < s.each && (next < 0 || s.before(t, s.waiting[next])) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		t := s.waiting[next]
		s.waiting = slices.Delete(s.waiting, next, next+1)
		s.busy++
		s.owners[t.owner]++
		close(t.begun)
	}
}

func (s *Shares) before(a, b *turn) bool {
	return a.rank < b.rank || a.rank == b.rank && s.owners[a.owner] < s.owners[b.owner]
}
