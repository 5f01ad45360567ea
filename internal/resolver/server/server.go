package server

import (
	"context"
	"errors"
	"net"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/resolver"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/resolver/usage"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/tracing"
)

// gracePeriod is how long requests under way may still take when the replica stops.
const gracePeriod = 10 * time.Second

// changesWait bounds a long poll for changes. It is less than what a client allows for an attempt.
const changesWait = 15 * time.Second

// maxRequests is how many requests a connection may have under way, and how many a node, with however many connections:
// a node plugin has one, and mounts 64 volumes at a time. What is more waits.
const maxRequests = 64

// Server is the gRPC service of one replica. Every replica serves; resolving needs no leader.
type Server struct {
	resolverv1.UnimplementedResolverServer

	engine      *resolver.Engine
	authorizer  *Authorizer
	connections client.Reader
	leases      *lease.Manager
	volumes     *usage.VolumeTracker
	events      *PodEvents
	certificate *ServingCertificate
	listener    *limitedListener
	// nodes bound the requests under way of each.
	nodes *shares.Turns[string]
	log   logr.Logger
	// lines limits the lines of the log about failed requests; unlogged is how many had none since the last.
	lines    *rate.Limiter
	unlogged atomic.Int64
	// stopping is closed when the replica stops, so that nobody waits for changes that would not come.
	stopping chan struct{}
}

// Options are what a Server needs, all of it.
type Options struct {
	Engine *resolver.Engine
	// Connections is where Connections are found, a cached reader.
	Connections client.Reader
	Authorizer  *Authorizer
	Leases      *lease.Manager
	// Volumes is told who asks, and Events what fails.
	Volumes *usage.VolumeTracker
	Events  *PodEvents
	// Certificate is shown to nodes.
	Certificate *ServingCertificate
	Listener    net.Listener
	Log         logr.Logger
}

// New returns a server, which serves once it is started.
func New(o Options) *Server {
	return &Server{
		engine: o.Engine, authorizer: o.Authorizer, connections: o.Connections,
		leases: o.Leases, volumes: o.Volumes, events: o.Events,
		certificate: o.Certificate, listener: newLimitedListener(o.Listener, unknownLife),
		nodes: shares.NewTurns[string](maxRequests), log: o.Log, lines: rate.NewLimiter(5, 100),
		stopping: make(chan struct{}),
	}
}

// NeedLeaderElection tells the manager to run the server in every replica.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends and then lets requests under way finish.
func (s *Server) Start(ctx context.Context) error {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.certificate.TLSConfig())),
		grpc.MaxRecvMsgSize(resolverv1.MaxRequestBytes),
		grpc.MaxSendMsgSize(resolverv1.MaxMessageBytes),
		grpc.MaxConcurrentStreams(maxRequests), // a client waits with what is more
		grpc.MaxHeaderListSize(16<<10),         // the node plugin's token
		grpc.ConnectionTimeout(10*time.Second),
		grpc.StaticStreamWindowSize(64<<10), grpc.StaticConnWindowSize(64<<10),
		grpc.ReadBufferSize(4<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
	)
	s.register(server, tracing.Of(ctx)) //nolint:contextcheck // each request brings its own
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		close(s.stopping)
		timer := time.AfterFunc(gracePeriod, server.Stop)
		defer timer.Stop()
		server.GracefulStop()
	}()
	s.log.Info("serving the resolver", "address", s.listener.Addr().String())
	if err := server.Serve(s.listener); err != nil {
		return err
	}
	<-stopped
	return nil
}

// Release implements the gRPC service.
func (s *Server) Release(
	ctx context.Context, request *resolverv1.ReleaseRequest,
) (_ *resolverv1.ReleaseResponse, err error) {
	ctx, span := tracing.Start(tracing.Incoming(ctx), tracing.Server, "release")
	defer func() { span.End(err) }()
	node, err := s.authorizer.authorizeNode(ctx, bearer(ctx))
	if err != nil {
		return nil, err
	}
	err = s.leases.RevokeVolume(ctx, request.GetLeases(), node.nodeName, request.GetOthersRemain())
	if _, unopened := errors.AsType[lease.UnopenedError](err); unopened {
		s.authorizer.limits.refused(ctx, node.nodeName)
	}
	if err != nil {
		return nil, err
	}
	return &resolverv1.ReleaseResponse{}, nil
}

// Changes implements the gRPC service.
func (s *Server) Changes(ctx context.Context, request *resolverv1.ChangesRequest) (*resolverv1.ChangesResponse, error) {
	if _, err := s.authorizer.authorizeNode(ctx, bearer(ctx)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changesWait)
	defer cancel()
	cursor, keys := s.engine.WaitForChanges(ctx, s.stopping, request.GetAfter())
	return &resolverv1.ChangesResponse{Cursor: cursor, ChangeKeys: keys}, nil
}

// intercept turns the fault of a call, or of a request in one, into a gRPC error and logs it once, in the same words
// that the user sees.
func (s *Server) intercept(
	ctx context.Context, method string, handle func(context.Context) (any, error),
) (response any, reason string, err error) {
	ctx = logr.NewContext(ctx, s.log)
	err = fault.Guard(ctx, func() (err error) {
		response, err = handle(ctx)
		return err
	})
	if err == nil {
		return response, v1alpha1.ReasonSucceeded, nil
	}
	f := fault.From(err)
	s.logFailure(method, f)
	return nil, f.Reason, resolverv1.EncodeFault(f)
}

// interceptResolve is intercept for the files of a volume, which are counted, however they are asked for. To wait for
// changes is no work.
func (s *Server) interceptResolve(
	ctx context.Context, method string, handle func(context.Context) (any, error),
) (any, error) {
	started := time.Now()
	response, reason, err := s.intercept(ctx, method, handle)
	requests.WithLabelValues(reason).Inc()
	duration.Observe(time.Since(started).Seconds())
	return response, err
}

// register registers the methods of the service as streams, those of one message each way, too, which is the same on
// the wire: so the caller is authorised before more of its messages is taken than the stream's window.
func (s *Server) register(server *grpc.Server, tracer tracing.Tracer) {
	service := resolverv1.Resolver_ServiceDesc
	methods, streams := service.Methods, service.Streams
	service.Methods, service.Streams = nil, nil
	for _, method := range methods {
		name := "/" + service.ServiceName + "/" + method.MethodName
		service.Streams = append(service.Streams, grpc.StreamDesc{
			StreamName: method.MethodName,
			Handler: func(_ any, stream grpc.ServerStream) error {
				response, err := s.one(tracer.Context(stream.Context()), name, func(ctx context.Context) (any, error) {
					return method.Handler(s, ctx, stream.RecvMsg, nil)
				})
				if err != nil {
					return err
				}
				return stream.SendMsg(response)
			},
		})
	}
	for _, method := range streams {
		name := "/" + service.ServiceName + "/" + method.StreamName
		handler := method.Handler
		method.Handler = func(_ any, stream grpc.ServerStream) error {
			return s.many(tracer.Context(stream.Context()), name, func(ctx context.Context) error {
				return handler(s, admittedStream{ServerStream: stream, ctx: ctx})
			})
		}
		service.Streams = append(service.Streams, method)
	}
	server.RegisterService(&service, s)
}

// one serves a call of one message each way, which it takes when the caller is known and it is its node's turn.
func (s *Server) one(
	ctx context.Context, method string, serve func(context.Context) (any, error),
) (any, error) {
	handle := func(ctx context.Context) (any, error) {
		ctx, err := s.admit(ctx, method)
		if err != nil {
			return nil, err
		}
		done, err := s.turn(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		return serve(ctx)
	}
	if method == resolverv1.Resolver_Resolve_FullMethodName {
		return s.interceptResolve(ctx, method, handle)
	}
	response, _, err := s.intercept(ctx, method, handle)
	return response, err
}

// many serves a call of several messages once the caller is known. Each of its messages is to be taken in a turn.
func (s *Server) many(ctx context.Context, method string, serve func(context.Context) error) error {
	_, _, err := s.intercept(ctx, method, func(ctx context.Context) (any, error) {
		ctx, err := s.admit(ctx, method)
		if err != nil {
			return nil, err
		}
		return nil, serve(ctx)
	})
	return err
}

// admittedStream is one whose caller is known.
type admittedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // in place of the stream's own, as gRPC has it
}

// Context is that of a known caller.
func (s admittedStream) Context() context.Context { return s.ctx }

// admit lets the node plugin's calls in: the context that it returns knows the node.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	node, err := s.authorizer.authorizeNode(ctx, bearer(ctx))
	from, ok := peer.FromContext(ctx)
	if err != nil {
		reason := fault.From(err).Reason
		refusedCallers.WithLabelValues(reason).Inc()
		if ok && reason == v1alpha1.ReasonNotAllowed {
			s.listener.refused(from.Addr.String())
		}
		return nil, err
	}
	if ok {
		s.listener.known(from.Addr.String())
	}
	calls.WithLabelValues(path.Base(method)).Inc()
	return s.authorizer.admitted(ctx, node), nil
}

// turn waits for one of the turns of the node that a context knows, and returns what to call afterwards.
func (s *Server) turn(ctx context.Context) (done func(), err error) {
	node := admittedNode(ctx)
	done, err = s.nodes.Acquire(ctx, node, 1)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "node %s has %d requests under way", node, maxRequests)
	}
	return done, nil
}

// logFailure writes the line of a failed request; a flood of them has few, which say how many there were in between.
func (s *Server) logFailure(method string, f *fault.Fault) {
	if !s.lines.Allow() {
		s.unlogged.Add(1)
		return
	}
	s.log.Info("request failed", "method", method, "reason", f.Reason, "message", f.Message(),
		"unlogged", s.unlogged.Swap(0))
}

func bearer(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, resolverv1.AuthorizationKey)
	if len(values) != 1 {
		return ""
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return ""
	}
	return token
}
