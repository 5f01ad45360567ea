package requeue

import (
	"math/rand/v2"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sallyport.dev/sallyport/internal/fault"
)

const (
	// MaxBackoff and minBackoff bound the backoff while Vault does not answer: it is found again within seconds,
	// without a busy loop.
	MaxBackoff = 15 * time.Second
	minBackoff = time.Second
	// waitingInterval is the interval of retries while somebody must change another object or Vault's content first.
	// Secrets are not watched, so that nothing else would tell.
	waitingInterval = 10 * time.Second
	// VaultWorkers is how many workers a controller has whose work waits for Vaults. They cost next to nothing while
	// they wait; a namespace whose Vaults all hang holds eight of them.
	VaultWorkers = 32
	// Workers is how many workers a controller has that waits for the API server only.
	Workers = 12
	// LookTime bounds a look at an object that waits for Vault: three requests with the usual time-out of 10 s. What it
	// waited for, such as a login, goes on without it, and the next look finds it done.
	LookTime = 30 * time.Second
	// shares is how much of a controller's workers one namespace leaves when it is alone: all but one of so many parts.
	shares = 4
)

// Options are the options of a controller with so many workers, of which one namespace has a quarter at most,
// and less where others have some.
func Options(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter: jittered{
			workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minBackoff, MaxBackoff),
		},
		NewQueue: func(
			name string, limiter workqueue.TypedRateLimiter[reconcile.Request],
		) workqueue.TypedRateLimitingInterface[reconcile.Request] {
			return newFairQueue(name, limiter, workers)
		},
	}
}

// jittered takes up to a third off each backoff of a rate limiter: objects that failed together, because one Vault went
// down, do not all come back at the moment when it is up again. The limiters of workqueue have no jitter; wait.Backoff
// has, but is of one caller and not of each item, and flowcontrol.Backoff is no rate limiter of a queue and exceeds its
// maximum by the jitter.
type jittered struct {
	workqueue.TypedRateLimiter[reconcile.Request]
}

// When implements workqueue.TypedRateLimiter.
func (j jittered) When(request reconcile.Request) time.Duration {
	backoff := j.TypedRateLimiter.When(request)
	return backoff - rand.N(backoff/3+1) //nolint:gosec // jitter
}

// For returns what Reconcile returns for a fault: backoff of the queue for a transient one, a fixed interval for one
// that waits for somebody, and no retry for a terminal one, which only an edit of the object can cure. The fault's
// class must be the one that the object sees; see fault.For.
func For(f *fault.Fault) (ctrl.Result, error) {
	switch f.Class {
	case fault.ClassTerminal:
		return ctrl.Result{}, reconcile.TerminalError(f)
	case fault.ClassWaiting:
		return ctrl.Result{RequeueAfter: waitingInterval}, nil
	case fault.ClassTransient:
	}
	return ctrl.Result{}, f
}
