package requeue

import (
	"slices"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue gives work to the workers of a controller from namespaces in turn, and to each namespace a share of the
// workers at most: whoever makes a hundred objects, or a hundred whose Vault hangs, waits behind his own. The share
// follows what the others leave, and half of the workers are for namespaces that have none, so that one is free for
// another namespace until there are more than that, in whichever order they came. What is over the share waits here
// and holds no worker. The priority queue of controller-runtime knows priorities and no shares.
type fairQueue struct {
	workqueue.TypedInterface[reconcile.Request]
	turns *turns
}

// wake is no request: it has one more worker look for work.
var wake reconcile.Request

// newFairQueue returns the queue of a controller with so many workers.
func newFairQueue(
	name string, limiter workqueue.TypedRateLimiter[reconcile.Request], workers int,
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	turns := &turns{workers: workers, running: map[string]int{}, waiting: map[string][]reconcile.Request{}}
	queue := fairQueue{turns: turns, TypedInterface: workqueue.NewTypedWithConfig(
		workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: turns},
	)}
	delaying := workqueue.NewTypedDelayingQueueWithConfig(
		workqueue.TypedDelayingQueueConfig[reconcile.Request]{Name: name, Queue: queue},
	)
	return workqueue.NewTypedRateLimitingQueueWithConfig(
		limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name, DelayingQueue: delaying},
	)
}

// Get implements workqueue.TypedInterface.
func (q fairQueue) Get() (reconcile.Request, bool) {
	for {
		request, shutdown := q.TypedInterface.Get()
		if shutdown || request != wake {
			return request, shutdown
		}
		q.TypedInterface.Done(wake)
	}
}

// Done gives the namespace's part of the workers back. The worker that is free now asks for work next; if that leaves
// work that may be done, an idle one is woken, for a queue wakes one for each request that comes, and none later.
func (q fairQueue) Done(request reconcile.Request) {
	more := q.turns.done(request.Namespace)
	q.TypedInterface.Done(request)
	if more {
		q.Add(wake)
	}
}

// turns are the requests that wait, by namespace. It is safe for concurrent use.
type turns struct {
	workers int

	mu sync.Mutex
	// running is how many requests of a namespace the workers have, and busy how many of all.
	running map[string]int
	busy    int
	waiting map[string][]reconcile.Request
	// next are the namespaces that have something waiting, the one whose turn it is first.
	next []string
	// wakes are those that wait.
	wakes int
}

// Touch implements workqueue.Queue.
func (*turns) Touch(reconcile.Request) {}

// Push implements workqueue.Queue.
func (t *turns) Push(request reconcile.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if request == wake {
		t.wakes++
		return
	}
	namespace := request.Namespace
	t.waiting[namespace] = append(t.waiting[namespace], request)
	if len(t.waiting[namespace]) == 1 {
		t.next = append(t.next, namespace)
	}
}

// Len implements workqueue.Queue: zero when nothing may be taken now.
func (t *turns) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wakes > 0 || t.first("") >= 0 {
		return 1
	}
	return 0
}

// Pop implements workqueue.Queue.
func (t *turns) Pop() reconcile.Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wakes > 0 {
		t.wakes--
		return wake
	}
	at := t.first("")
	namespace := t.next[at]
	t.next = slices.Delete(t.next, at, at+1)
	request := t.waiting[namespace][0]
	t.running[namespace]++
	t.busy++
	if t.waiting[namespace] = t.waiting[namespace][1:]; len(t.waiting[namespace]) == 0 {
		delete(t.waiting, namespace)
	} else {
		t.next = append(t.next, namespace)
	}
	return request
}

// first is the index of the namespace whose turn it is, as if a worker had taken one more request of another; -1 if all
// that have something waiting have their share. Those that have no worker are below it, so that few are looked at. The
// caller holds the lock.
func (t *turns) first(taken string) int {
	free := t.workers - t.busy
	if taken != "" {
		free--
	}
	return slices.IndexFunc(t.next, func(namespace string) bool {
		running := t.running[namespace]
		if namespace == taken {
			if running++; len(t.waiting[namespace]) == 1 {
				return false
			}
		}
		// One namespace comes to have a quarter of all, and two have a fifth each. The last half is for those that have none:
		// whichever came first and took its share while it was alone, so many more namespaces have a worker at once.
		return free > 0 && running == 0 || free > t.workers/2 && running*(shares-1) < free
	})
}

// done says that a worker has finished with a request of the namespace. It returns whether that worker leaves something
// for another one when it has taken the next request.
func (t *turns) done(namespace string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	if t.running[namespace]--; t.running[namespace] == 0 {
		delete(t.running, namespace)
	}
	// Whoever came while it had its part goes first.
	if at := slices.Index(t.next, namespace); at >= 0 {
		t.next = append(slices.Delete(t.next, at, at+1), namespace)
	}
	at := t.first("")
	return at >= 0 && t.first(t.next[at]) >= 0
}
