// Package schedule runs work at its due time: names in a delaying work queue, back-off for each name that failed, and a
// share for each owner of names of what is done at once.
//
// It knows names only. It must not know what is done for one, only that a panic of it is a failure of that name.
package schedule

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
)

// Work is asking somebody over the network, and may wait for as long as that takes. A few owners that only wait leave
// most of it to the others.
const (
	atOnce         = 64
	atOncePerOwner = 8
)

// Work is what is to be done for a name, and for whom.
type Work struct {
	Owner string
	Rank  int
	Do    func(ctx context.Context)
}

// Queue gives out each name at its due time. A TypedRateLimitingInterface does not do: its delays are neither told, to
// be logged and shown, nor spread by jitter.
type Queue struct {
	due     workqueue.TypedDelayingInterface[string]
	backoff workqueue.TypedRateLimiter[string]
	shares  *Shares
}

// New returns a queue whose back-off doubles from shortest to longest.
func New(clock clock.WithTicker, shortest, longest time.Duration) *Queue {
	return &Queue{
		due:     workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: clock}),
		backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[string](shortest, longest),
		shares:  NewShares(atOnce, atOncePerOwner),
	}
}

// AddAfter has the name worked on after delay. A name that waits already keeps the earlier of the two times.
func (q *Queue) AddAfter(name string, delay time.Duration) { q.due.AddAfter(name, delay) }

// Backoff counts a failure of the name and returns its next delay.
func (q *Queue) Backoff(name string) time.Duration { return Jitter(q.backoff.When(name)) }

// Forget ends the back-off of the name.
func (q *Queue) Forget(name string) { q.backoff.Forget(name) }

// Run does what is due, until ctx ends and the last of it is done. What find returns for a name is done in its owner's
// turn; false: there is nothing to do.
func (q *Queue) Run(ctx context.Context, find func(name string) (Work, bool)) {
	var running sync.WaitGroup
	running.Go(func() {
		for {
			name, shutdown := q.due.Get()
			if shutdown {
				return
			}
			// No more of these than names.
			running.Go(func() {
				defer q.due.Done(name)
				err := fault.Guard(ctx, func() error {
					q.do(ctx, name, find)
					return nil
				})
				if err != nil { // a panic
					q.due.AddAfter(name, q.Backoff(name))
				}
			})
		}
	})
	<-ctx.Done()
	q.due.ShutDown()
	running.Wait()
}

func (q *Queue) do(ctx context.Context, name string, find func(name string) (Work, bool)) {
	work, ok := find(name)
	if !ok {
		return
	}
	release, err := q.shares.Acquire(ctx, work.Owner, work.Rank)
	if err != nil {
		return
	}
	defer release()
	work.Do(ctx)
}

// Jitter spreads the retries of those that failed together: between half of delay and one and a half.
func Jitter(delay time.Duration) time.Duration { return wait.Jitter(delay/2, 2) }
