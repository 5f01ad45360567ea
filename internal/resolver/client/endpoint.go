package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// deadAfter is how long a peer may leave data unacknowledged.
	deadAfter = 5 * time.Second
	// failureMemory is how long an endpoint that failed is asked after the others.
	failureMemory = 15 * time.Second
)

// endpoint is one replica with what it published, and the connection to it.
type endpoint struct {
	name       string
	bundle     string
	dialer     *net.Dialer
	connection *grpc.ClientConn

	rounds *rounds
	// lacksRounds: the replica is of a version that knows none. One of another version has a certificate of its own.
	lacksRounds atomic.Bool

	// failure is why the last attempt to connect failed; nil once one succeeds.
	failure atomic.Pointer[connectFailure]

	mu     sync.Mutex
	broken time.Time // the last failure, zero when it works
	users  int
	gone   bool
}

// published is what one replica says of itself.
type published struct {
	address net.IP
	roots   *x509.CertPool
}

// parseBundle reads the value of one key of the ConfigMap: the certificate that the replica serves, and maybe the next
// one.
func parseBundle(bundle string, now time.Time) (published, error) {
	p := published{roots: x509.NewCertPool()}
	rest := []byte(bundle)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return published{}, fmt.Errorf("reading a certificate: %w", err)
		}
		if now.After(certificate.NotAfter) {
			continue
		}
		if p.address == nil {
			if len(certificate.IPAddresses) == 0 {
				return published{}, errors.New("the certificate names no IP address")
			}
			p.address = certificate.IPAddresses[0]
		}
		p.roots.AddCert(certificate)
	}
	if p.address == nil {
		return published{}, errors.New("there is no certificate that is still valid")
	}
	return p, nil
}

// newEndpoint prepares the connection; it is made by the first call.
func newEndpoint(config *Config, name, bundle string) (*endpoint, error) {
	p, err := parseBundle(bundle, config.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("resolver %s: %w", name, err)
	}
	e := &endpoint{
		name: name, bundle: bundle, dialer: &net.Dialer{LocalAddr: config.LocalAddr}, rounds: newRounds(config),
	}
	// Exactly what the replica published is trusted, in place of any certificate authority.
	transport := &observedTLS{TransportCredentials: credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    p.roots,
		ServerName: p.address.String(),
	}), endpoint: e}
	pause := backoff.DefaultConfig
	pause.MaxDelay = failureMemory
	e.connection, err = grpc.NewClient("passthrough:///"+net.JoinHostPort(p.address.String(), strconv.Itoa(config.Port)),
		grpc.WithTransportCredentials(transport),
		grpc.WithContextDialer(e.dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: config.ConnectTimeout}),
		// Also sets TCP_USER_TIMEOUT: a node that vanished without a word is noticed while a call waits. The resolver
		// accepts a ping every 20 seconds.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: deadAfter}),
		// What waits to be received is no more than that for each request.
		grpc.WithStaticStreamWindowSize(64<<10),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(resolverv1.MaxMessageBytes), grpc.MaxCallSendMsgSize(resolverv1.MaxMessageBytes)),
		// Whether to ask again is decided here, and the environment has no say in where tokens go.
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
	)
	return e, err
}

// dial connects and remembers why that failed, which gRPC tells only as text.
func (e *endpoint) dial(ctx context.Context, address string) (net.Conn, error) {
	connection, err := e.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		e.failure.Store(dialFailure(err))
	}
	return connection, err
}

func (e *endpoint) lastFailure() *connectFailure { return e.failure.Load() }

// observedTLS remembers how the handshake ended.
type observedTLS struct {
	credentials.TransportCredentials
	endpoint *endpoint
}

// ClientHandshake is that of the credentials.
func (o *observedTLS) ClientHandshake(
	ctx context.Context, authority string, raw net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := o.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		o.endpoint.failure.Store(handshakeFailure(err))
	} else {
		o.endpoint.failure.Store(nil)
	}
	return secured, info, err
}

func (o *observedTLS) Clone() credentials.TransportCredentials {
	return &observedTLS{TransportCredentials: o.TransportCredentials.Clone(), endpoint: o.endpoint}
}

func (e *endpoint) markWorking() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken = time.Time{}
}

func (e *endpoint) markFailed(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken = now
}

// isBroken tells whether the endpoint failed a short while ago.
func (e *endpoint) isBroken(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.broken.IsZero() && now.Sub(e.broken) < failureMemory
}

// acquire and release count the calls under way: the connection of an endpoint that is no longer published is closed
// after the last one.
func (e *endpoint) acquire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users++
}

func (e *endpoint) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.users--; e.users == 0 && e.gone {
		_ = e.connection.Close()
	}
}

// closeWhenIdle closes the connection after the last call.
func (e *endpoint) closeWhenIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone = true; e.users == 0 {
		_ = e.connection.Close()
	}
}
