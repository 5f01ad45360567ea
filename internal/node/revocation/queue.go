package revocation

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/node/schedule"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	backoffMin = 5 * time.Second
	backoffMax = 10 * time.Minute

	// resumeWithin spreads the requests for what an earlier process left.
	resumeWithin = 5 * time.Second
)

// What the queue logs.
const (
	messageRevoked      = "Leases given back"
	messageFailed       = "Leases not given back yet"
	messageRefused      = "Leases not given back, they run out"
	messageNoRoom       = "No room for leases to give back, they run out"
	messageNotStored    = "Leases to give back are held in memory only"
	messageUnreadable   = "Leases to give back not understood"
	messageRemoveFailed = "Volume not cleared away"
)

// Resolver revokes leases. It succeeds for leases that were revoked before; its errors are faults.
type Resolver interface {
	Release(ctx context.Context, request *resolverv1.ReleaseRequest) error
}

// Queue asks a resolver to revoke the leases in a spool.
type Queue struct {
	spool    *Spool
	due      *schedule.Queue
	resolver Resolver
	observe  func(err error)
}

// NewQueue returns the queue of a spool. The outcome of each request goes to observe.
func NewQueue(spool *Spool, resolver Resolver, clock clock.WithTicker, observe func(err error)) *Queue {
	return &Queue{spool: spool, due: schedule.New(clock, backoffMin, backoffMax), resolver: resolver, observe: observe}
}

// Resume takes over what an earlier process could not have revoked any more.
func (q *Queue) Resume(ctx context.Context) error {
	names, broken, err := q.spool.load()
	for _, path := range broken {
		logr.FromContextOrDiscard(ctx).Info(messageUnreadable, logkeys.Path, path)
	}
	for _, name := range names {
		q.due.AddAfter(name, rand.N(resumeWithin))
	}
	return err
}

// Enqueue takes the leases of a volume that is gone, or never came to be. It cannot fail: at worst they run out.
func (q *Queue) Enqueue(ctx context.Context, pod volume.Pod, leases volume.EncryptedLeases) {
	if len(leases) == 0 {
		return
	}
	logger := logr.FromContextOrDiscard(ctx).WithValues(logkeys.Pod, pod)
	name, err := q.spool.add(entry{Pod: pod, Leases: leases})
	if name == "" {
		q.observe(err)
		logger.Error(err, messageNoRoom)
		return
	}
	if err != nil {
		logger.Error(err, messageNotStored)
	}
	q.due.AddAfter(name, 0)
}

// Run asks for what is due, until ctx ends.
func (q *Queue) Run(ctx context.Context) { q.due.Run(ctx, q.work) }

// work returns the revocation of an entry: after others if it failed before.
func (q *Queue) work(name string) (schedule.Work, bool) {
	wanted, ok := q.spool.get(name)
	if !ok {
		return schedule.Work{}, false
	}
	rank := schedule.First
	if wanted.failed {
		rank = schedule.Last
	}
	return schedule.Work{
		Owner: wanted.Pod.Namespace, Rank: rank, Do: func(ctx context.Context) { q.revoke(ctx, name, wanted) },
	}, true
}

// revoke asks a resolver to revoke the leases of one volume. The right to do so is the plugin's own: the pod, and its
// token, may be gone as well.
func (q *Queue) revoke(ctx context.Context, name string, wanted entry) {
	if ctx.Err() != nil {
		return
	}
	logger := logr.FromContextOrDiscard(ctx).WithValues(logkeys.Pod, wanted.Pod)
	err := fault.Guard(logr.NewContext(ctx, logger), func() error {
		return q.resolver.Release(ctx, &resolverv1.ReleaseRequest{Leases: wanted.Leases})
	})
	if err != nil && ctx.Err() != nil {
		return // stopping; the next process goes on
	}
	q.observe(err)
	if err != nil {
		f := fault.From(err)
		logger = logger.WithValues(logkeys.Reason, f.Reason, logkeys.Sentence, f.Message())
		if mayPass(f) {
			q.spool.failed(name)
			delay := q.due.Backoff(name)
			logger.Info(messageFailed, logkeys.RetryAfter, delay)
			q.due.AddAfter(name, delay)
			return
		}
		logger.Info(messageRefused)
	} else {
		logger.Info(messageRevoked)
	}
	q.due.Forget(name)
	if err := q.spool.remove(name); err != nil {
		logger.Error(err, messageRemoveFailed)
	}
}

// mayPass tells whether a request that failed may succeed later, as the protocol has it. What is not allowed may be
// allowed again: the service account's name or a policy in Vault was wrong for a while.
func mayPass(f *fault.Fault) bool {
	return f.Class == fault.ClassTransient || fault.Code(f.Reason) == codes.PermissionDenied
}
