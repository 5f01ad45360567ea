// Package client finds the replicas of the resolver and asks one of them. It is the node plugin's side of the protocol
// in internal/resolver/api/v1.
//
// The replicas publish their certificates in one ConfigMap; to watch it is all that this package may do in the
// Kubernetes API. A connection trusts exactly the certificates that the replica published, and nothing else. The
// package keeps no answer and writes nothing to disk; what fails comes back as a fault, in words that quote no foreign
// error.
package client

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	defaultAttemptTimeout = 25 * time.Second
	defaultTimeout        = 50 * time.Second
	defaultSyncTimeout    = 5 * time.Second
	defaultConnectTimeout = 5 * time.Second

	// deadAfter is how long a peer may leave data unacknowledged.
	deadAfter = 5 * time.Second

	// memory is how long an endpoint that failed is asked after the others.
	memory = 15 * time.Second
)

// Config is what a Client needs.
type Config struct {
	// Kubernetes watches the ConfigMap. Its identity needs list and watch of that one object.
	Kubernetes kubernetes.Interface
	// Namespace is Sallyport's own.
	Namespace string
	// NodeName decides which replica this node prefers.
	NodeName string
	// TokenFile holds the plugin's own token for audience v1alpha1.AudienceNode. It is read for every question: the
	// kubelet replaces it before it expires.
	TokenFile string

	// Port of the replicas; 0 means resolverv1.Port.
	Port int
	// Timeout bounds a question, and AttemptTimeout what one replica may take of it. 0 means 50 and 25 seconds.
	Timeout, AttemptTimeout time.Duration
	// ConnectTimeout bounds a connection's TCP and TLS handshakes; 0 means 5 seconds.
	ConnectTimeout time.Duration
	// SyncTimeout is how long a question waits for the first look at the ConfigMap; 0 means 5 seconds.
	SyncTimeout time.Duration
	// Clock is the real one by default.
	Clock clock.PassiveClock
}

// Client asks the resolver. Run must run for it to find any.
type Client struct {
	config Config

	synced chan struct{}

	mu        sync.Mutex
	endpoints map[string]*endpoint
}

// New returns a client. It starts nothing.
func New(config Config) *Client {
	if config.Port == 0 {
		config.Port = resolverv1.Port
	}
	for _, timeout := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&config.Timeout, defaultTimeout},
		{&config.AttemptTimeout, defaultAttemptTimeout},
		{&config.ConnectTimeout, defaultConnectTimeout},
		{&config.SyncTimeout, defaultSyncTimeout},
	} {
		if *timeout.field <= 0 {
			*timeout.field = timeout.value
		}
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Client{config: config, synced: make(chan struct{}), endpoints: map[string]*endpoint{}}
}

// Resolve asks the replica that this node prefers, and the next one if no answer comes from it. An answer that is an
// error is an answer. Errors are always faults: the resolver's own, or ReasonNoResolver if none answered.
func (c *Client) Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	var response *resolverv1.ResolveResponse
	err := c.ask(ctx, func(ctx context.Context, resolver resolverv1.ResolverClient, token grpc.CallOption) (err error) {
		response, err = resolver.Resolve(ctx, request, token)
		return err
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

// Release gives leases back, to whatever replica Resolve would ask. Errors are faults as Resolve's.
func (c *Client) Release(ctx context.Context, request *resolverv1.ReleaseRequest) error {
	return c.ask(ctx, func(ctx context.Context, resolver resolverv1.ResolverClient, token grpc.CallOption) error {
		_, err := resolver.Release(ctx, request, token)
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
	ctx, cancel := context.WithTimeout(ctx, c.config.AttemptTimeout)
	defer cancel()
	response, err := resolverv1.NewResolverClient(endpoints[0].connection).Changes(ctx, request, grpc.PerRPCCredentials(token))
	return response, asFault(err)
}

// prepare returns what a question needs: the plugin's token and the endpoints, of which there is at least one, in the
// order of preference. The caller releases them.
func (c *Client) prepare(ctx context.Context) (token bearer, endpoints []*endpoint, release func(), err error) {
	if token, err = c.ownToken(); err != nil {
		return "", nil, nil, err
	}
	if err := c.waitForSync(ctx); err != nil {
		return "", nil, nil, err
	}
	endpoints, release = c.preferred()
	if len(endpoints) == 0 {
		release()
		return "", nil, nil, fault.Transient(v1alpha1.ReasonNoResolver,
			"no resolver is published in ConfigMap %s/%s: is Sallyport's controller running?", c.config.Namespace, resolverv1.ConfigMapName)
	}
	return token, endpoints, release, nil
}

// question puts a question to one replica, with the plugin's token.
type question func(ctx context.Context, resolver resolverv1.ResolverClient, token grpc.CallOption) error

// ask puts the question to the endpoints in the order of preference, until one answers.
func (c *Client) ask(ctx context.Context, put question) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	token, endpoints, release, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	defer release()
	var tried attempts
	for _, e := range endpoints {
		err := c.attempt(ctx, e, token, put)
		if !unanswered(err) {
			e.works()
			return asFault(err)
		}
		tried.add(e, err)
		e.fails(c.config.Clock.Now())
		if ctx.Err() != nil {
			break
		}
	}
	return tried.fault(len(endpoints), ctx.Err())
}

// attempt puts the question to one endpoint.
func (c *Client) attempt(ctx context.Context, e *endpoint, token bearer, put question) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.AttemptTimeout)
	defer cancel()
	return put(ctx, resolverv1.NewResolverClient(e.connection), grpc.PerRPCCredentials(token))
}

// ownToken reads the plugin's token.
func (c *Client) ownToken() (bearer, error) {
	content, err := os.ReadFile(c.config.TokenFile)
	token := strings.TrimSpace(string(content))
	if err == nil && token == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fault.Transient(v1alpha1.ReasonInternal, "the node plugin's own token cannot be read: %v", err)
	}
	return bearer(token), nil
}

// waitForSync gives the watch a moment: right after the start nobody has looked at the ConfigMap yet.
func (c *Client) waitForSync(ctx context.Context) error {
	timer := time.NewTimer(c.config.SyncTimeout)
	defer timer.Stop()
	select {
	case <-c.synced:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return givenUp()
		}
	case <-timer.C:
	}
	return fault.Transient(v1alpha1.ReasonNoResolver,
		"the node plugin could not read ConfigMap %s/%s, where resolvers are published, from the Kubernetes API so far",
		c.config.Namespace, resolverv1.ConfigMapName)
}

// bearer is the plugin's own token as gRPC credentials.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{resolverv1.AuthorizationKey: "Bearer " + string(b)}, nil
}

// RequireTransportSecurity keeps the token from ever being sent in the clear.
func (b bearer) RequireTransportSecurity() bool { return true }

func (b bearer) String() string   { return "[node token]" }
func (b bearer) GoString() string { return b.String() }
func (b bearer) MarshalLog() any  { return b.String() }

// unanswered tells whether err means that no resolver saw the question to its end, so that another may be asked. Asking
// twice does no harm: what a resolver does for a question it does again for the next one.
func unanswered(err error) bool {
	if resolverv1.DecodeFault(err) != nil {
		return false
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}
