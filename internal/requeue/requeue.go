// Package requeue decides when a controller looks at an object again, in one place for every kind.
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

// MaxBackoff and minBackoff bound the pauses while Vault does not answer: it is found again within seconds, without a busy loop.
const MaxBackoff = 15 * time.Second

const (
	// waiting is how often to look again when somebody must change another object or Vault's content first. Secrets are not
	// watched, so that nothing else would tell.
	waiting    = 10 * time.Second
	minBackoff = time.Second
	// concurrency bounds how many objects of a kind are worked on at a time: one whose Vault hangs must not hold up the others.
	concurrency = 10
)

// Options are the options of every controller.
func Options() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: concurrency,
		RateLimiter:             jittered{workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minBackoff, MaxBackoff)},
	}
}

// jittered takes up to a third off each pause: objects that failed together, because one Vault went down, do not all come
// back at the moment when it is up again.
type jittered struct {
	workqueue.TypedRateLimiter[reconcile.Request]
}

// When implements workqueue.TypedRateLimiter.
func (j jittered) When(request reconcile.Request) time.Duration {
	pause := j.TypedRateLimiter.When(request)
	return pause - rand.N(pause/3+1) //nolint:gosec // jitter
}

// For returns what Reconcile returns for a fault: the queue backs off after what may go away by itself, looks again at a steady
// pace for what somebody must provide, and lets be what only an edit of the object can cure.
func For(f *fault.Fault) (ctrl.Result, error) {
	switch f.Class {
	case fault.ClassTerminal:
		return ctrl.Result{}, reconcile.TerminalError(f)
	case fault.ClassWaiting:
		return ctrl.Result{RequeueAfter: waiting}, nil
	case fault.ClassTransient:
	}
	return ctrl.Result{}, f
}
