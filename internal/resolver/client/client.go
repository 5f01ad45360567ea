package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
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
	resolve := func(ctx context.Context, replica *grpc.ClientConn, token grpc.CallOption) (err error) {
		response, err = receive(ctx, replica, request, token)
		return err
	}
	if err := c.callInOrder(ctx, resolve); err != nil {
		return nil, err
	}
	return response, nil
}

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
		return nil, resolverv1.EncodeFault(fault.Transient(v1alpha1.ReasonNodeBusy,
			"the answers for other volumes of this node are being written, and this one waited in vain for its turn"))
	}
	response := &resolverv1.ResolveResponse{}
	if err := stream.RecvMsg(response); err != nil {
		return nil, err
	}
	return response, nil
}

// Release has the leases of a volume that is gone revoked, by whatever replica Resolve would ask. Errors are faults as
// Resolve's.
func (c *Client) Release(ctx context.Context, request *resolverv1.ReleaseRequest) error {
	return c.callInOrder(ctx, func(ctx context.Context, replica *grpc.ClientConn, token grpc.CallOption) error {
		_, err := resolverv1.NewResolverClient(replica).Release(ctx, request, token)
		return err
	})
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

// call makes a call to one replica, with the plugin's token.
type call func(ctx context.Context, replica *grpc.ClientConn, token grpc.CallOption) error

// callInOrder makes a call to the endpoints in the order of preference, until one answers.
func (c *Client) callInOrder(ctx context.Context, call call) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	token, endpoints, release, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer release()
	var tried failedCalls
	for _, e := range endpoints {
		err := c.callEndpoint(ctx, e, token, call)
		if !unanswered(err) {
			e.markWorking()
			return faultOf(err)
		}
		tried.add(e.name, e.lastFailure(), err)
		e.markFailed(c.config.Clock.Now())
		if ctx.Err() != nil {
			break
		}
	}
	return tried.fault(len(endpoints), ctx.Err())
}

// callEndpoint makes a call to one endpoint.
func (c *Client) callEndpoint(ctx context.Context, e *endpoint, token bearer, call call) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.CallTimeout)
	defer cancel()
	return call(ctx, e.connection, grpc.PerRPCCredentials(token))
}
