package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// openFor is how many times Config.JoinWithin requests may join a round at most, which is five seconds. Where one is
// due all the time, on a node with very many volumes, the next begins another.
const openFor = 50

// rounds are calls of ResolveEach to one replica. A request joins the round that is open, and begins one if there is
// none: it is sent at once and waits for no other. Each waits for its own answer, so that one that does not come keeps
// its call open and nobody waiting. There are no more calls than requests under way, whose number the node bounds.
type rounds struct {
	joinWithin, openFor, life time.Duration

	mu   sync.Mutex
	open *round
}

func newRounds(config *Config) *rounds {
	open := openFor * config.JoinWithin
	return &rounds{joinWithin: config.JoinWithin, openFor: open, life: open + config.CallTimeout}
}

// ask makes a request in a round. Errors are those of a call of Resolve.
func (r *rounds) ask(
	ctx context.Context, replica grpc.ClientConnInterface, request *resolverv1.ResolveRequest, token grpc.CallOption,
) (*resolverv1.ResolveResponse, error) {
	a := &asked{
		request: request, coming: make(chan struct{}, 1), ready: make(chan struct{}), answer: make(chan outcome, 1),
	}
	joined := r.join(ctx, a, replica, token)
	defer joined.leave(a)
	return a.await(ctx)
}

// join has a request join the open round, or begin one. A round has the token of the request that began it.
func (r *rounds) join(
	ctx context.Context, a *asked, replica grpc.ClientConnInterface, token grpc.CallOption,
) *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open != nil && r.open.join(a) {
		return r.open
	}
	// It outlives the request that began it, and the trace of that one is not the others'.
	ctx = metadata.NewOutgoingContext(context.WithoutCancel(ctx), metadata.MD{})
	ctx, cancel := context.WithTimeout(ctx, r.life)
	r.open = &round{
		joinWithin: r.joinWithin, until: time.Now().Add(r.openFor), signal: make(chan struct{}, 1), cancel: cancel,
		queue: []*asked{a}, waiting: map[*asked]bool{a: true},
	}
	begun := r.open
	go fault.Guarded(ctx, func() { begun.run(ctx, replica, token) })()
	return begun
}

// round is one call.
type round struct {
	joinWithin time.Duration
	// until is when nobody can join any more.
	until time.Time
	// signal says that somebody joined.
	signal chan struct{}
	// cancel ends the call.
	cancel context.CancelFunc

	mu sync.Mutex
	// closed: nobody can join any more.
	closed bool
	// queue are those that joined and are not sent yet, sent all the others, in the order of the call; nil: answered.
	queue, sent []*asked
	// waiting are those who still wait for an answer.
	waiting map[*asked]bool
	// left: somebody no longer waits, and there is no answer.
	left bool
}

// join adds a request; false: the round is closed.
func (r *round) join(a *asked) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || !time.Now().Before(r.until) || len(r.queue)+len(r.sent) >= resolverv1.MaxRound {
		return false
	}
	r.queue = append(r.queue, a)
	r.waiting[a] = true
	select {
	case r.signal <- struct{}{}:
	default:
	}
	return true
}

// leave says that a request waits no longer. A call for which nobody waits is given up, unless all have their answers:
// then the replica ends it.
func (r *round) leave(a *asked) {
	a.setReady()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[a] {
		delete(r.waiting, a)
		r.left = true
	}
	r.giveUp()
}

// giveUp ends a call for which nobody waits. The caller holds the lock.
func (r *round) giveUp() {
	if r.closed && r.left && len(r.waiting) == 0 {
		r.cancel()
	}
}

// run makes the call, and returns when it is over.
func (r *round) run(ctx context.Context, replica grpc.ClientConnInterface, token grpc.CallOption) {
	defer r.cancel()
	failure := status.Error(codes.Internal, "the round ended")
	defer func() { r.fail(failure) }() // whatever became of it
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := replica.NewStream(ctx, both, resolverv1.Resolver_ResolveEach_FullMethodName, token)
	if err != nil {
		failure = err
		return
	}
	var sending sync.WaitGroup
	sending.Go(fault.Guarded(ctx, func() { r.send(ctx, stream) }))
	failure = r.receive(stream)
	r.cancel() // so that sending ends, too
	sending.Wait()
}

// send sends the requests as they join, until none has joined for a while.
func (r *round) send(ctx context.Context, stream grpc.ClientStream) {
	defer func() { _ = stream.CloseSend() }()
	for {
		for a := r.next(); a != nil; a = r.next() {
			if stream.SendMsg(a.request) != nil {
				return // receive says why
			}
		}
		idle := time.NewTimer(r.joinWithin)
		select {
		case <-r.signal:
		case <-idle.C:
			if r.close() {
				return
			}
		case <-ctx.Done():
			return
		}
		idle.Stop()
	}
}

// next is the next request to be sent; nil: there is none now. Whoever left meanwhile has none sent.
func (r *round) next() *asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		a := r.queue[0]
		r.queue = r.queue[1:]
		if r.waiting[a] {
			r.sent = append(r.sent, a)
			return a
		}
	}
	return nil
}

// close lets nobody join any more; false: somebody did just now.
func (r *round) close() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		return false
	}
	r.closed = true
	r.giveUp()
	return true
}

// receive hands on the answers, and returns the error of those that have none when the call is over.
func (r *round) receive(stream grpc.ClientStream) error {
	over := status.Error(codes.Unavailable, "the replica ended the round before this answer")
	for {
		message := &resolverv1.ResolveEachResponse{}
		if err := stream.RecvMsg(message); err != nil {
			if errors.Is(err, io.EOF) {
				return over
			}
			return err
		}
		a := r.answered(message.GetIndex())
		if a == nil {
			return status.Error(codes.Internal, "the replica answers what was not asked, or twice")
		}
		a.announce() // more is taken only when there is a place for it
		if message.GetAlone() {
			index := message.GetIndex()
			message = &resolverv1.ResolveEachResponse{}
			if err := stream.RecvMsg(message); err != nil {
				a.deliver(nil, over)
				continue
			}
			if message.GetIndex() != index || message.GetAlone() {
				a.deliver(nil, over)
				return status.Error(codes.Internal, "the replica sends something else than it said")
			}
		}
		if response := message.GetResponse(); response != nil {
			a.deliver(response, nil)
		} else {
			a.deliver(nil, resolverv1.DecodeFailure(message.GetFailure()))
		}
	}
}

// answered takes the request that an answer is for; nil: there is none.
func (r *round) answered(index uint32) *asked {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int64(index) >= int64(len(r.sent)) || r.sent[index] == nil {
		return nil
	}
	a := r.sent[index]
	r.sent[index] = nil
	delete(r.waiting, a)
	return a
}

// fail ends all that have no answer.
func (r *round) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for a := range r.waiting {
		a.deliver(nil, err)
	}
	clear(r.waiting)
}

// asked is a request of a round.
type asked struct {
	request *resolverv1.ResolveRequest
	// coming says that its answer is about to be taken, and ready is closed when there is a place for it, or nobody waits.
	coming  chan struct{}
	ready   chan struct{}
	isReady sync.Once
	answer  chan outcome
}

type outcome struct {
	response *resolverv1.ResolveResponse
	err      error
}

// await returns the answer. It is taken from the call when there is a place for it among the node's answers.
func (a *asked) await(ctx context.Context) (*resolverv1.ResolveResponse, error) {
	select {
	case <-a.coming:
	case o := <-a.answer: // there is none: the call ended
		return o.response, o.err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err := resolverv1.AwaitPlace(ctx); err != nil {
		return nil, noPlace()
	}
	a.setReady()
	select {
	case o := <-a.answer:
		return o.response, o.err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (a *asked) setReady() { a.isReady.Do(func() { close(a.ready) }) }

// announce says that the answer is there, and returns when it can be taken.
func (a *asked) announce() {
	a.coming <- struct{}{}
	<-a.ready
}

func (a *asked) deliver(response *resolverv1.ResolveResponse, err error) {
	a.answer <- outcome{response, err}
}
