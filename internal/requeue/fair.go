package requeue

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue gives work to the workers of a controller from namespaces in turn, and to each namespace a share of the
// workers at most: whoever makes a hundred objects, or a hundred whose Vault hangs, waits behind his own. What is over
// the share waits here and holds no worker. The priority queue of controller-runtime knows priorities and no shares.
type fairQueue struct {
	workqueue.TypedInterface[reconcile.Request]
	turns *turns
}

// newFairQueue returns the queue of a controller in which a namespace may have so many workers.
func newFairQueue(
	name string, limiter workqueue.TypedRateLimiter[reconcile.Request], share int,
) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	turns := &turns{share: share, running: map[string]int{}, waiting: map[string][]reconcile.Request{}}
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

// Done gives the namespace's part of the workers back. No other worker need be woken for what waits there: the one that
// is free now asks for work next, and if there was an idle one, nothing else can be waiting.
func (q fairQueue) Done(request reconcile.Request) {
	q.turns.done(request.Namespace)
	q.TypedInterface.Done(request)
}

// turns are the requests that wait, by namespace. It is safe for concurrent use.
type turns struct {
	share int

	mu sync.Mutex
	// running is how many requests of a namespace the workers have.
	running map[string]int
	waiting map[string][]reconcile.Request
	// next are the namespaces that have something waiting and are below their share, the one whose turn it is first.
	next []string
}

// Touch implements workqueue.Queue.
func (*turns) Touch(reconcile.Request) {}

// Push implements workqueue.Queue.
func (t *turns) Push(request reconcile.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	namespace := request.Namespace
	t.waiting[namespace] = append(t.waiting[namespace], request)
	if len(t.waiting[namespace]) == 1 && t.running[namespace] < t.share {
		t.next = append(t.next, namespace)
	}
}

// Len implements workqueue.Queue: zero when nothing may be taken now.
func (t *turns) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.next)
}

// Pop implements workqueue.Queue.
func (t *turns) Pop() reconcile.Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	namespace := t.next[0]
	t.next = t.next[1:]
	request := t.waiting[namespace][0]
	t.running[namespace]++
	if t.waiting[namespace] = t.waiting[namespace][1:]; len(t.waiting[namespace]) == 0 {
		delete(t.waiting, namespace)
	} else if t.running[namespace] < t.share {
		t.next = append(t.next, namespace)
	}
	return request
}

// done says that a worker has finished with a request of the namespace.
func (t *turns) done(namespace string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running[namespace] == t.share && len(t.waiting[namespace]) > 0 {
		t.next = append(t.next, namespace)
	}
	if t.running[namespace]--; t.running[namespace] == 0 {
		delete(t.running, namespace)
	}
}
