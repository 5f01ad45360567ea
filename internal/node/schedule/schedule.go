// Package schedule runs work at its due time: names in a delaying work queue, a few workers, back-off for each name
// that failed.
//
// It knows names only. It must not know what is done for one.
package schedule

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

// workers is how many names are worked on at once.
const workers = 4

// Queue gives out each name at its due time. A TypedRateLimitingInterface does not do: its delays are neither told, to
// be logged and shown, nor spread by jitter.
type Queue struct {
	due     workqueue.TypedDelayingInterface[string]
	backoff workqueue.TypedRateLimiter[string]
}

// New returns a queue whose back-off doubles from shortest to longest.
func New(clock clock.WithTicker, shortest, longest time.Duration) *Queue {
	return &Queue{
		due:     workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: clock}),
		backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[string](shortest, longest),
	}
}

// AddAfter has the name worked on after delay. A name that waits already keeps the earlier of the two times.
func (q *Queue) AddAfter(name string, delay time.Duration) { q.due.AddAfter(name, delay) }

// Backoff counts a failure of the name and returns its next delay.
func (q *Queue) Backoff(name string) time.Duration { return Jitter(q.backoff.When(name)) }

// Forget ends the back-off of the name.
func (q *Queue) Forget(name string) { q.backoff.Forget(name) }

// Run has workers do what is due, until ctx ends and the last of them is done.
func (q *Queue) Run(ctx context.Context, do func(ctx context.Context, name string)) {
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for {
				name, shutdown := q.due.Get()
				if shutdown {
					return
				}
				do(ctx, name)
				q.due.Done(name)
			}
		})
	}
	<-ctx.Done()
	q.due.ShutDown()
	running.Wait()
}

// Jitter spreads the retries of those that failed together: between half of delay and one and a half.
func Jitter(delay time.Duration) time.Duration { return wait.Jitter(delay/2, 2) }
