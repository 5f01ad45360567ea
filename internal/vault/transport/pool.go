package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/transport/breaker"
	"sallyport.dev/sallyport/internal/vault/transport/metering"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

// Config is all that makes one Transport another than the next.
type Config struct {
	// Address of Vault: its origin, and the path below which something before it has it.
	Address    string
	Trust      Trust
	ServerName string
	// ClientCertificate that is shown; nil: none.
	ClientCertificate *ClientCertificate
	// Proxy is the proxy's origin; empty if there is none.
	Proxy string
	// Headers that each request has besides. What stands before Vault may lead those with other ones elsewhere.
	Headers Headers
}

type configKey struct {
	address, serverName, proxy        string
	trust, clientCertificate, headers [sha256.Size]byte
}

func (c Config) key() configKey {
	key := configKey{
		address: c.Address, serverName: c.ServerName, proxy: c.Proxy, trust: c.Trust.key, headers: c.Headers.key,
	}
	if c.ClientCertificate != nil {
		key.clientCertificate = c.ClientCertificate.key
	}
	return key
}

// Transport is the shared part of Conns that go the same way: their connections, and what is known of Vault's health.
// One with another client certificate is another Transport: Vault binds tokens to connections that showed it.
type Transport struct {
	Config
	healthTimeout time.Duration
	clock         clock.PassiveClock
	connections   *connections
	api           *vaultapi.Client
	health        healthCache
	breaker       *breaker.Breaker
	// decoding is the gate of all transports of a pool: see readBody.
	decoding *shares.Gate
}

// label is what metrics call the way. What a proxy of somebody's makes of requests is not told of the Vault's own
// origin.
func (t *Transport) label() string {
	if t.Proxy == "" {
		return t.Address
	}
	return t.Address + " via " + t.Proxy
}

// Pool holds the transports in use, one for each Config.
type Pool struct {
	timeout time.Duration
	clock   clock.PassiveClock
	guard   *networks.Guard
	// decoding bounds the large responses that are being read, by the namespace of their VaultConfig.
	decoding *shares.Gate
	// limiter of the requests on all transports; nil: they have no bound in common.
	limiter *RequestLimiter
	// apart: another Pool knows which origins are in use.
	apart bool

	mu    sync.Mutex
	byKey map[configKey]*Transport
}

// NewPool returns an empty Pool. The time-out is that of looks at sys/health, the clock says how old their results are,
// the guard where connections may lead, the limiter, which may be nil, when requests may be sent.
func NewPool(timeout time.Duration, clk clock.PassiveClock, guard *networks.Guard, limiter *RequestLimiter) *Pool {
	return &Pool{timeout: timeout, clock: clk, guard: guard, limiter: limiter, byKey: map[configKey]*Transport{},
		decoding: shares.NewGate(heap.Decoding, heap.DecodingShare)}
}

// Apart returns an empty Pool that shares with this one what all requests of a process have in common: where they may
// lead, how many there may be, and the memory for what is being decoded.
func (p *Pool) Apart() *Pool {
	other := NewPool(p.timeout, p.clock, p.guard, p.limiter)
	other.decoding, other.apart = p.decoding, true
	return other
}

// Get returns the Transport for a Config.
func (p *Pool) Get(config Config) (*Transport, error) {
	key := config.key()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byKey[key] == nil {
		open := newConnections(p.clock, func() *http.Transport { return newHTTPTransport(config, p.guard) })
		api, err := newAPI(config.Address, newHTTPClient(open))
		if err != nil {
			return nil, err
		}
		p.byKey[key] = &Transport{
			Config: config, healthTimeout: min(p.timeout, healthTimeout), clock: p.clock, connections: open, api: api,
			breaker: breaker.New(p.clock), decoding: p.decoding,
		}
	}
	return p.byKey[key], nil
}

// Keep drops the transports that are not in use and closes their idle connections. A request that still runs on one is
// not disturbed.
func (p *Pool) Keep(used map[*Transport]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, t := range p.byKey {
		if !used[t] {
			delete(p.byKey, key)
			t.connections.closeIdle()
		}
	}
	if p.apart {
		return
	}
	origins := map[string]bool{}
	for _, t := range p.byKey {
		origins[t.label()] = true
	}
	metering.Keep(func(origin string) bool { return origins[origin] })
}

// maxUnread bounds what of a response over HTTP/2 is kept before anybody reads it, in bytes.
const maxUnread = 64 << 10

// healthTimeout bounds a look at sys/health, for which Vault asks neither an engine nor its storage.
const healthTimeout = 5 * time.Second

// newHTTPClient returns a client that keeps no cookie and follows no redirect.
func newHTTPClient(open *connections) *http.Client {
	return &http.Client{
		Transport: open,
		// A redirect could carry the token to another address. Vault redirects only where a standby cannot forward.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newHTTPTransport returns one that takes nothing from the environment: no proxy, no certificate file.
func newHTTPTransport(c Config, guard *networks.Guard) *http.Transport {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Trust.pool, ServerName: c.ServerName}
	if c.ClientCertificate != nil {
		config.Certificates = []tls.Certificate{c.ClientCertificate.certificate}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, ControlContext: guard.Control}
	transport := &http.Transport{
		Proxy:               nil,
		DialContext:         guard.Dial(dialer),
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without pings, requests would go on being sent, and time out, on a connection whose other end vanished. Without the
		// bound, bodies that wait for their turn to be decoded would take 4 MiB each.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second, MaxReceiveBufferPerStream: maxUnread,
		},
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if proxy, err := url.Parse(c.Proxy); err == nil && c.Proxy != "" {
		transport.Proxy = http.ProxyURL(proxy)
		transport.OnProxyConnectResponse = checkTunnel
		// The connection with the proxy itself: neither server name nor client certificate are meant for it.
		transport.DialTLSContext = (&tls.Dialer{
			NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Trust.pool},
		}).DialContext
	}
	return transport
}
