package vault

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// link is one session's way to Vault, without an identity: a wire, and what the VaultConfig says of the requests on it.
type link struct {
	*wire
	// namespace of Vault that requests go to; empty: the root.
	namespace string
	// timeout of one request, its answer included.
	timeout time.Duration
	pace    *pace
	wires   *wires
}

// newLink returns the way to Vault of a session.
func (s *Session) newLink(w *wire) *link {
	return &link{wire: w, namespace: s.config.Spec.VaultNamespace, timeout: s.timeout(), pace: s.pace, wires: &s.sessions.wires}
}

// showing returns the link that shows this client certificate, and is the same otherwise.
func (l *link) showing(shown *clientCertificate) (*link, error) {
	way := l.route
	way.shown = shown
	w, err := l.wires.get(way)
	if err != nil {
		return nil, err
	}
	other := *l
	other.wire = w
	return &other, nil
}

// timeout of one request of the session.
func (s *Session) timeout() time.Duration {
	if limits := s.config.Spec.Limits; limits != nil && limits.Timeout != nil {
		return limits.Timeout.Duration
	}
	return s.sessions.timeout
}

// follows tells whether the way to Vault depends on what is not in the spec.
func follows(config *v1alpha1.VaultConfig) bool {
	return config.Spec.CACertificateFrom != nil || config.Spec.TLS != nil && config.Spec.TLS.ClientCertificateSecretRef != nil
}

// route is all that makes one wire another than the next.
type route struct {
	origin     string
	trust      trust
	serverName string
	// shown is the client certificate; nil if there is none.
	shown *clientCertificate
	// proxy is the proxy's origin; empty if there is none.
	proxy string
}

type routeKey struct {
	origin, serverName, proxy string
	trust, shown              [sha256.Size]byte
}

func (r route) key() routeKey {
	key := routeKey{origin: r.origin, serverName: r.serverName, proxy: r.proxy, trust: r.trust.key}
	if r.shown != nil {
		key.shown = r.shown.key
	}
	return key
}

// route reads what a VaultConfig says of the way to its Vault.
func (s *Session) route(ctx context.Context, reader client.Reader) (route, error) {
	way := route{origin: s.origin, proxy: s.proxy}
	if s.config.Spec.TLS != nil {
		way.serverName = s.config.Spec.TLS.ServerName
	}
	var err error
	if way.trust, err = readTrust(ctx, reader, s.config); err != nil {
		return route{}, err
	}
	way.shown, err = readClientCertificate(ctx, reader, s.config)
	return way, err
}

// wire is the shared part of links that go the same way: their connections, and what is known of Vault's health. One with
// another client certificate is another wire: Vault binds tokens to connections that showed it.
type wire struct {
	route
	healthTimeout time.Duration
	clock         clock.PassiveClock
	http          *http.Client
	api           *vaultapi.Client
	pulse         pulse
}

// bare is the wire as a link of nobody's.
func (w *wire) bare() *link { return &link{wire: w, timeout: w.healthTimeout} }

// wires are all that are in use.
type wires struct {
	timeout time.Duration
	clock   clock.PassiveClock
	mu      sync.Mutex
	byKey   map[routeKey]*wire
}

func (w *wires) get(way route) (*wire, error) {
	key := way.key()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey[key] == nil {
		client := newHTTPClient(way)
		api, err := newAPI(way.origin, client)
		if err != nil {
			return nil, err
		}
		w.byKey[key] = &wire{route: way, healthTimeout: w.timeout, clock: w.clock, http: client, api: api}
	}
	return w.byKey[key], nil
}

// keep drops the wires that are not in use and closes their idle connections. A request that still runs on one is not disturbed.
func (w *wires) keep(used map[*wire]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, wire := range w.byKey {
		if !used[wire] {
			delete(w.byKey, key)
			wire.http.CloseIdleConnections()
		}
	}
}

// newHTTPClient returns a client that takes nothing from the environment: no proxy, no certificate file, no cookie.
func newHTTPClient(way route) *http.Client {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: way.trust.pool, ServerName: way.serverName}
	if way.shown != nil {
		config.Certificates = []tls.Certificate{way.shown.certificate}
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	transport := &bounded{http.Transport{
		Proxy:               nil,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without pings, requests would go on being sent, and time out, on a connection whose other end vanished.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}}
	if proxy, err := url.Parse(way.proxy); err == nil && way.proxy != "" {
		transport.Proxy = http.ProxyURL(proxy)
		transport.OnProxyConnectResponse = refusedTunnel
		// The connection with the proxy itself: neither server name nor client certificate are meant for it.
		transport.DialTLSContext = (&tls.Dialer{
			NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: way.trust.pool},
		}).DialContext
	}
	return &http.Client{
		Transport: transport,
		// A redirect could carry the token to another address. Vault redirects only where a standby cannot forward.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
