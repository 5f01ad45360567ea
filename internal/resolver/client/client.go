package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/tracing"
)

// Client asks the resolver. Run must run for it to find any.
type Client struct {
	config   Config
	replicas *replicaSet
}

// New returns a client. It starts nothing.
func New(config Config) *Client {
	config = config.withDefaults()
	return &Client{config: config, replicas: newReplicaSet(config)}
}

// Run watches the ConfigMap in which the resolvers publish themselves, until ctx ends.
func (c *Client) Run(ctx context.Context) error { return c.replicas.run(ctx) }

// Resolve asks the replica that this node prefers, and the next one if it does not respond. A response that is an
// error is a response. Errors are always faults: the resolver's own, or ReasonNoResolver if none answered.
func (c *Client) Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	var response *resolverv1.ResolveResponse
	resolve := func(ctx context.Context, replica *endpoint, token grpc.CallOption, _ bool) (err error) {
		response, err = receive(ctx, replica.connection, request, token)
		return err
	}
	if err := c.callInOrder(ctx, resolve, anyAnswer); err != nil {
		return nil, err
	}
	return response, nil
}

// ResolveTogether is Resolve for the refresh of a volume: those of one moment share a call of a replica. Each goes to
// the next replica by itself, where it meets the others again. A replica of a version that knows no such calls is asked
// as Resolve does.
func (c *Client) ResolveTogether(
	ctx context.Context, request *resolverv1.ResolveRequest,
) (*resolverv1.ResolveResponse, error) {
	var response *resolverv1.ResolveResponse
	large := proto.Size(request) > resolverv1.MaxRequestBytes // it would end the call for all
	resolve := func(ctx context.Context, replica *endpoint, token grpc.CallOption, _ bool) (err error) {
		if !large && !replica.lacksRounds.Load() {
			response, err = replica.rounds.ask(ctx, replica.connection, request, token)
			if status.Code(err) != codes.Unimplemented || resolverv1.DecodeFault(err) != nil {
				return err
			}
			replica.lacksRounds.Store(true)
		}
		response, err = receive(ctx, replica.connection, request, token)
		return err
	}
	if err := c.callInOrder(ctx, resolve, anyAnswer); err != nil {
		return nil, err
	}
	return response, nil
}

// anyAnswer says that whatever a replica answers is final.
func anyAnswer(error) bool { return true }

// receive asks as the generated client does, but takes the message only when there is a place for it.
func receive(
	ctx context.Context, replica *grpc.ClientConn, request *resolverv1.ResolveRequest, token grpc.CallOption,
) (*resolverv1.ResolveResponse, error) {
	stream, err := replica.NewStream(ctx, &grpc.StreamDesc{}, resolverv1.Resolver_Resolve_FullMethodName, token)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) { // then RecvMsg says why
		return nil, err
	}
	if _, err := stream.Header(); err != nil {
		return nil, err
	}
	if err := resolverv1.AwaitPlace(ctx); err != nil {
		return nil, noPlace()
	}
	response := &resolverv1.ResolveResponse{}
	if err := stream.RecvMsg(response); err != nil {
		return nil, err
	}
	return response, nil
}

// Release has the leases of a volume that is gone revoked, by whatever replica Resolve would ask, or by another if that
// one cannot. They are left to expire only if every replica says so. Errors are faults as Resolve's.
func (c *Client) Release(ctx context.Context, request *resolverv1.ReleaseRequest) error {
	release := func(
		ctx context.Context, replica *endpoint, token grpc.CallOption, othersRemain bool,
	) error {
		wanted := &resolverv1.ReleaseRequest{Leases: request.GetLeases(), OthersRemain: othersRemain}
		_, err := resolverv1.NewResolverClient(replica.connection).Release(ctx, wanted, token)
		return err
	}
	final := func(err error) bool { return !leftByOne(err) }
	return c.callInOrder(ctx, release, final)
}

// leftByOne tells whether err means that one replica has nothing to revoke leases with, which another may have: the
// last login of a VaultConfig, or of a pod, that is gone is in the memory of whoever made it.
func leftByOne(err error) bool {
	return fault.Is(err, v1alpha1.ReasonConfigNotFound) || fault.Is(err, v1alpha1.ReasonCredentialMissing)
}

// Changes asks the replica that Resolve would ask, and no other: what one calls changed another may not know yet.
// Errors are faults.
func (c *Client) Changes(ctx context.Context, request *resolverv1.ChangesRequest) (*resolverv1.ChangesResponse, error) {
	token, endpoints, release, err := c.prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	replica := resolverv1.NewResolverClient(endpoints[0].connection)
	response, err := replica.Changes(ctx, request, grpc.PerRPCCredentials(token))
	return response, faultOf(err)
}

// prepare returns what a call needs: the plugin's token and the endpoints, of which there is at least one, in the
// order of preference. The caller releases them.
func (c *Client) prepare(ctx context.Context) (token bearer, endpoints []*endpoint, release func(), err error) {
	if token, err = readToken(c.config.TokenFile); err != nil {
		return "", nil, nil, err
	}
	if err := c.replicas.waitForSync(ctx); err != nil {
		return "", nil, nil, err
	}
	endpoints, release = c.replicas.preferred()
	if len(endpoints) == 0 {
		release()
		return "", nil, nil, fault.Transient(v1alpha1.ReasonNoResolver,
			"no resolver is published in ConfigMap %s/%s: is Sallyport's controller running?",
			c.config.Namespace, resolverv1.ConfigMapName)
	}
	return token, endpoints, release, nil
}

// call makes a call to one replica, with the plugin's token. othersRemain: not every other replica has answered.
type call func(ctx context.Context, replica *endpoint, token grpc.CallOption, othersRemain bool) error

// callInOrder makes a call to the endpoints in the order of preference, until one gives an answer that is final. One
// that is not becomes so when all have given such an answer.
func (c *Client) callInOrder(ctx context.Context, call call, final func(error) bool) error {
	ctx, cancel := context.WithTimeout(tracing.Outgoing(ctx), c.config.Timeout)
	defer cancel()
	token, endpoints, release, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer release()
	var tried failedCalls
	var answer error
	for i, e := range endpoints {
		err := c.callEndpoint(ctx, e, token, call, i < len(endpoints)-1 || tried.count > 0)
		if !unanswered(err) {
			e.markWorking()
			if answer = faultOf(err); final(answer) {
				return answer
			}
			continue
		}
		tried.add(e.name, e.lastFailure(), err)
		e.markFailed(c.config.Clock.Now())
		if ctx.Err() != nil {
			break
		}
	}
	if answer != nil && tried.count == 0 {
		return answer
	}
	return tried.fault(len(endpoints), answer != nil, ctx.Err())
}

// callEndpoint makes a call to one endpoint.
func (c *Client) callEndpoint(
	ctx context.Context, e *endpoint, token bearer, call call, othersRemain bool,
) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	return call(ctx, e, grpc.PerRPCCredentials(token), othersRemain)
}
