package resolver

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// gracePeriod is how long requests under way may still take when the replica stops.
const gracePeriod = 10 * time.Second

// changesWait is how long a node waits for changes before it asks anew. Less than what a client allows for an attempt.
const changesWait = 15 * time.Second

// Server is the gRPC service of one replica. Every replica serves; resolving needs no leader.
type Server struct {
	resolverv1.UnimplementedResolverServer

	engine      *Engine
	authorizer  *Authorizer
	connections client.Reader
	leases      *lease.Keeper
	mounts      *Mounts
	events      *PodEvents
	identity    *Identity
	listener    net.Listener
	log         logr.Logger
	// stopping is closed when the replica stops, so that nobody waits for changes that would not come.
	stopping chan struct{}
}

// ServerOptions are what a Server needs, all of it.
type ServerOptions struct {
	Engine *Engine
	// Connections is where Connections are found, a cached reader.
	Connections client.Reader
	Authorizer  *Authorizer
	Leases      *lease.Keeper
	// Mounts is told who asks, and Events what fails.
	Mounts *Mounts
	Events *PodEvents
	// Identity is shown to nodes.
	Identity *Identity
	Listener net.Listener
	Log      logr.Logger
}

// NewServer returns a server, which serves once it is started.
func NewServer(o ServerOptions) *Server {
	return &Server{
		engine: o.Engine, authorizer: o.Authorizer, connections: o.Connections, leases: o.Leases, mounts: o.Mounts, events: o.Events,
		identity: o.Identity, listener: o.Listener, log: o.Log, stopping: make(chan struct{}),
	}
}

// NeedLeaderElection tells the manager to run the server in every replica.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends and then lets requests under way finish.
func (s *Server) Start(ctx context.Context) error {
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.identity.TLSConfig())),
		grpc.UnaryInterceptor(s.intercept),
		grpc.MaxRecvMsgSize(512<<10), // two tokens, a pod's volume attributes, and the leases of the volume
		grpc.MaxSendMsgSize(resolverv1.MaxMessageBytes),
		grpc.MaxConcurrentStreams(256),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
	)
	resolverv1.RegisterResolverServer(server, s)
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

// Resolve implements the gRPC service.
func (s *Server) Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (response *resolverv1.ResolveResponse, err error) {
	served := s.engine.Serving()
	defer served()
	grant, err := s.authorizer.Authorize(ctx, bearer(ctx), request.GetPodToken(), request.GetVolumeAttributes())
	if err != nil {
		return nil, err
	}
	defer func() { s.events.refreshed(grant, request, err) }()
	workload := s.authorizer.Workload(grant, request.GetWorkloadTokens())
	// First of all, and whatever becomes of the rest: the pod goes on using what its volume holds.
	ledger, err := s.leases.Open(ctx, request.GetLeases(), leasesOf(grant, request))
	if err != nil {
		return nil, err
	}
	s.leases.Settle(ctx, ledger)
	s.leases.Tend(ctx, ledger, workload)
	connection, err := s.connectionOf(ctx, grant)
	if err != nil {
		return nil, err
	}
	key, volume := client.ObjectKeyFromObject(connection), NewVolumeID(grant.PodUID, request.GetVolumeAttributes())
	resolved, err := s.engine.Resolve(ctx, connection, Volume{
		Workload: workload, Overrides: grant.Overrides, Revision: request.GetRevision(), Held: ledger.Held(),
	})
	var sealed []byte
	if err == nil {
		if sealed, err = s.leases.HandOver(ctx, ledger, resolved.Slots, resolved.Made); err != nil {
			s.engine.Undelivered(resolved, err)
		}
	}
	if err != nil {
		s.leases.GiveBack(ctx, grant.Pod.Namespace, resolved.Made)
		s.mounts.Failed(key, volume)
		return nil, err
	}
	s.mounts.Served(key, volume, resolved.Versions, resolved.RefreshAfter)
	response = &resolverv1.ResolveResponse{
		Revision:       resolved.Revision,
		Unchanged:      resolved.Unchanged,
		RefreshAfterMs: s.leases.Sooner(ledger, resolved.RefreshAfter).Milliseconds(),
		Topics:         resolved.Topics,
		Leases:         sealed,
	}
	for _, file := range resolved.Files {
		response.Files = append(response.Files, &resolverv1.File{Path: file.Path, Content: file.Content, Mode: file.Mode})
	}
	return response, nil
}

// connectionOf returns the Connection of a grant, if the pod may mount it.
func (s *Server) connectionOf(ctx context.Context, grant *Grant) (*v1alpha1.Connection, error) {
	connection := &v1alpha1.Connection{}
	key := types.NamespacedName{Namespace: grant.Pod.Namespace, Name: grant.Connection}
	if err := s.connections.Get(ctx, key, connection); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, fault.Waiting(v1alpha1.ReasonConnectionNotFound, "Connection %s does not exist", key)
		}
		return nil, fault.Transient(v1alpha1.ReasonInternal, "Connection %s cannot be read from the Kubernetes API: %v", key, err)
	}
	if allowed := connection.Spec.AllowedServiceAccounts; len(allowed) > 0 && !slices.Contains(allowed, grant.ServiceAccount) {
		return nil, fault.Waiting(v1alpha1.ReasonNotAllowed,
			"Connection %s may not be mounted by pods of service account %s: it is not among allowedServiceAccounts", key, grant.ServiceAccount)
	}
	return connection, nil
}

func leasesOf(grant *Grant, request *resolverv1.ResolveRequest) lease.Volume {
	return lease.Volume{
		ID: request.GetVolumeId(), PodUID: grant.PodUID, PodName: grant.Pod.Name, Namespace: grant.Pod.Namespace, Node: grant.Node,
	}
}

// Release implements the gRPC service.
func (s *Server) Release(ctx context.Context, request *resolverv1.ReleaseRequest) (*resolverv1.ReleaseResponse, error) {
	node, err := s.authorizer.authorizeNode(ctx, bearer(ctx))
	if err != nil {
		return nil, err
	}
	if err := s.leases.Release(ctx, request.GetLeases(), node.nodeName); err != nil {
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
	cursor, topics := s.engine.WaitForChanges(ctx, s.stopping, request.GetAfter())
	return &resolverv1.ChangesResponse{Cursor: cursor, Topics: topics}, nil
}

// intercept turns faults into gRPC errors and logs each refusal once, in the same words that the user sees.
func (s *Server) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	started := time.Now()
	response, err := handler(ctx, request)
	reason := v1alpha1.ReasonSucceeded
	if err != nil {
		f := fault.From(err)
		reason = f.Reason
		s.log.Info("request failed", "method", info.FullMethod, "reason", f.Reason, "message", f.Message())
		err = encode(f)
	}
	if info.FullMethod != resolverv1.Resolver_Resolve_FullMethodName {
		return response, err // to wait is no work
	}
	requests.WithLabelValues(reason).Inc()
	duration.Observe(time.Since(started).Seconds())
	return response, err
}

// encode turns a fault into a gRPC status that the client turns back.
func encode(f *fault.Fault) error {
	s, err := status.New(code(f), f.Message()).WithDetails(&errdetails.ErrorInfo{Reason: f.Reason, Domain: resolverv1.ErrorDomain})
	if err != nil {
		return status.Error(code(f), f.Message())
	}
	return s.Err()
}

func code(f *fault.Fault) codes.Code {
	switch f.Reason {
	case v1alpha1.ReasonNotAllowed, v1alpha1.ReasonNamespaceNotAllowed:
		return codes.PermissionDenied
	case v1alpha1.ReasonConnectionNotFound, v1alpha1.ReasonConfigNotFound:
		return codes.NotFound
	case v1alpha1.ReasonInternal:
		return codes.Internal
	}
	if f.Class == fault.ClassTransient {
		return codes.Unavailable
	}
	return codes.FailedPrecondition
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
