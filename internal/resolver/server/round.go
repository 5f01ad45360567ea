package server

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/tracing"
)

const (
	// roundLife bounds a call with many requests, whatever its node does meanwhile: twice what a node plugin allows it.
	roundLife = time.Minute
	// requestLife bounds one of its requests, which has no deadline of its own: it is what a node plugin allows a replica,
	// from a moment before. So it is the node that gives up, and asks another replica.
	requestLife = 25 * time.Second
)

type (
	roundStream = grpc.BidiStreamingServer[resolverv1.ResolveRequest, resolverv1.ResolveEachResponse]
	roundAnswer = []*resolverv1.ResolveEachResponse
)

// received is a request of a round, with the turn in which it was taken.
type received struct {
	index   uint32
	request *resolverv1.ResolveRequest
	done    func()
}

// ResolveEach implements the gRPC service: each request is served as a call of Resolve is, beside the others, and
// answered when its answer is there. A message is taken only in one of the node's turns, which ends when its answer
// is about to be sent: so a round has no more under way, and in memory, than as many calls of Resolve. That includes
// the turn in which the next message is waited for, for the moment that a node takes to send what is due.
//
// An answer that cannot be sent is as lost as one of Resolve: what was issued for it is pending in the lease manager.
func (s *Server) ResolveEach(stream roundStream) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	ctx, cancel := context.WithTimeout(stream.Context(), roundLife)
	defer cancel()
	taken, answers, ended := make(chan received), make(chan roundAnswer), make(chan error, 1)
	go func() {
		ended <- fault.Guard(ctx, func() error { return s.takeRequests(ctx, stream, taken) })
	}()
	var failure error
	stopping := s.stopping
	for open, left := taken, 0; open != nil || left > 0; {
		select {
		case r := <-open:
			left++
			serving.Go(fault.Guarded(ctx, func() {
				defer r.done()
				answer := s.serveInRound(ctx, r)
				select {
				case answers <- answer:
				case <-ctx.Done():
				}
			}))
		case answer := <-answers:
			left--
			for _, message := range answer {
				if err := stream.Send(message); err != nil {
					return err
				}
			}
		case failure = <-ended:
			open = nil
		case <-stopping: // the node asks another replica for what was not taken
			open, stopping = nil, nil
		case <-ctx.Done():
			return roundOver()
		}
	}
	return failure
}

// takeRequests takes the messages of a round, each in a turn, until the node has sent its last.
func (s *Server) takeRequests(ctx context.Context, stream roundStream, taken chan<- received) error {
	for index := uint32(0); ; index++ {
		last, err := s.takeRequest(ctx, stream, index, taken)
		if last || err != nil {
			return err
		}
	}
}

func (s *Server) takeRequest(
	ctx context.Context, stream roundStream, index uint32, taken chan<- received,
) (last bool, err error) {
	done, err := s.turn(ctx)
	if err != nil {
		return false, err
	}
	handedOn := false
	defer func() {
		if !handedOn {
			done()
		}
	}()
	request, err := stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return true, nil
	case err != nil:
		return false, err
	case index >= resolverv1.MaxRound:
		return false, refuse("a node asks for %d volumes together at most", resolverv1.MaxRound)
	}
	select {
	case taken <- received{index: index, request: request, done: done}:
		handedOn = true
		return false, nil
	case <-ctx.Done():
		return false, roundOver()
	}
}

// serveInRound serves one request of a round as Resolve does, and returns the messages of its answer.
func (s *Server) serveInRound(ctx context.Context, r received) roundAnswer {
	ctx, cancel := context.WithTimeout(tracing.Below(ctx, r.request.GetTraceParent()), requestLife)
	defer cancel()
	response, err := s.interceptResolve(ctx, resolverv1.Resolver_ResolveEach_FullMethodName,
		func(ctx context.Context) (any, error) { return s.Resolve(ctx, r.request) })
	if err != nil {
		return roundAnswer{{
			Index:  r.index,
			Answer: &resolverv1.ResolveEachResponse_Failure{Failure: resolverv1.EncodeFailure(err)},
		}}
	}
	resolved, _ := response.(*resolverv1.ResolveResponse)
	return answerOf(r.index, resolved)
}

// answerOf is the answer with a response: a large one comes alone, after a word that it does.
//
// It is not left for a call of its own: that would read once more in Vault, and issue other dynamic secrets.
func answerOf(index uint32, response *resolverv1.ResolveResponse) roundAnswer {
	answer := &resolverv1.ResolveEachResponse{
		Index: index, Answer: &resolverv1.ResolveEachResponse_Response{Response: response},
	}
	if proto.Size(answer) <= resolverv1.MaxTogetherBytes {
		return roundAnswer{answer}
	}
	return roundAnswer{{Index: index, Answer: &resolverv1.ResolveEachResponse_Alone{Alone: true}}, answer}
}

// roundOver is why a round ends whose node did not end it.
func roundOver() error {
	return fault.Transient(v1alpha1.ReasonInternal,
		"the node went, or neither sent all that it asks for together nor took the answers in time")
}
