package vault

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
	"k8s.io/utils/clock"
)

// publicRoots are Mozilla's root certificates, compiled in. They are named explicitly instead of being registered as
// Go's fallback, so that neither the image's files nor SSL_CERT_FILE decide whom Sallyport trusts.
var publicRoots = sync.OnceValue(func() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // one that this Go version cannot read is one that it does not trust
		case root.Constraint != nil:
			pool.AddCertWithConstraint(certificate, root.Constraint)
		default:
			pool.AddCert(certificate)
		}
	}
	return pool
})

// trust is a set of certificate authorities, and a key that is the same for the same set.
type trust struct {
	pool *x509.CertPool
	key  [sha256.Size]byte
}

// newTrust reads a PEM bundle. It fails, with what is wrong, if there is no certificate in it or one that cannot be parsed:
// skipping that one, as crypto/x509 does, would only show later, as an unknown authority.
func newTrust(certificates string) (trust, string) {
	pool, found := x509.NewCertPool(), false
	for rest := []byte(certificates); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return trust{}, "holds a certificate that cannot be parsed"
		}
		pool.AddCert(certificate)
		found = true
	}
	if !found {
		return trust{}, "holds no PEM certificate"
	}
	return trust{pool: pool, key: sha256.Sum256([]byte(certificates))}, ""
}

func publicTrust() trust { return trust{pool: publicRoots()} }

// links are the HTTP clients of all sessions, shared by those with the same origin and the same authorities, so that their
// connections are shared too.
type links struct {
	timeout time.Duration
	clock   clock.PassiveClock
	mu      sync.Mutex
	byKey   map[linkKey]*link
}

type linkKey struct {
	origin string
	trust  [sha256.Size]byte
	client [sha256.Size]byte
}

// clientCertificate is one that is shown to Vault, and a key that is the same for the same one.
type clientCertificate struct {
	certificate tls.Certificate
	key         [sha256.Size]byte
}

func (l *links) get(origin string, trust trust, shown *clientCertificate) (*link, error) {
	key := linkKey{origin: origin, trust: trust.key}
	if shown != nil {
		key.client = shown.key
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey[key] == nil {
		client := newHTTPClient(trust)
		if transport, ok := client.Transport.(*bounded); ok && shown != nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{shown.certificate}
		}
		api, err := newAPI(origin, client)
		if err != nil {
			return nil, err
		}
		l.byKey[key] = &link{
			origin: origin, timeout: l.timeout, clock: l.clock, http: client, api: api,
			showing: func(shown *clientCertificate) (*link, error) { return l.get(origin, trust, shown) },
		}
	}
	return l.byKey[key], nil
}

// keep drops the links that are not in use and closes their idle connections. A request that still runs on one is not disturbed.
func (l *links) keep(used map[*link]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, link := range l.byKey {
		if !used[link] {
			delete(l.byKey, key)
			link.http.CloseIdleConnections()
		}
	}
}

// newHTTPClient returns a client that takes nothing from the environment: no proxy, no certificate file, no cookie.
func newHTTPClient(trust trust) *http.Client {
	return &http.Client{
		Transport: &bounded{http.Transport{
			Proxy:               nil,
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust.pool},
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
			// Without pings, requests would go on being sent, and time out, on a connection whose other end vanished.
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
			MaxIdleConnsPerHost:    8,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}},
		// A redirect could carry the token to another address. Vault redirects only where a standby cannot forward.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
