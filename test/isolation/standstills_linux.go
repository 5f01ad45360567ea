package isolation

import (
	"context"
	"sync"
	"time"
)

// standstills are the times at which nothing of this process ran, whoever wanted to: where the machine stands still, no
// attack is to blame. What keeps others waiting is none of it, be it that both cores are busy.
type standstills struct {
	mu   sync.Mutex
	last time.Time
	all  []span
}

type span struct{ from, to time.Time }

const (
	// tick is how often it is looked whether time goes on, and leastStandstill what counts as one that did not.
	tick            = 50 * time.Millisecond
	leastStandstill = 500 * time.Millisecond
)

// watch looks until the context ends.
func (s *standstills) watch(ctx context.Context) {
	for ctx.Err() == nil {
		s.look()
		sleep(ctx, tick)
	}
}

func (s *standstills) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) >= leastStandstill {
		s.all = append(s.all, span{s.last, now})
	}
	s.last = now
}

// within is how much of a time they took.
func (s *standstills) within(from, to time.Time) (sum time.Duration) {
	s.look() // the one that ends now
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		begin, end := one.from, one.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// since is the time that has passed since then, without them.
func (s *standstills) since(then time.Time) time.Duration {
	now := time.Now()
	return now.Sub(then) - s.within(then, now)
}
