package transport

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
)

func TestHTTPClientTakesNothingFromTheEnvironment(t *testing.T) {
	g := NewWithT(t)
	transport := newHTTPTransport(Config{Address: "https://a", Trust: publicTrust()}, nil)
	client := newHTTPClient(newConnections(clock.RealClock{}, func() *http.Transport { return transport }))
	g.Expect(transport.Proxy).To(BeNil())
	g.Expect(transport.TLSClientConfig.MinVersion).To(Equal(uint16(tls.VersionTLS12)))
	g.Expect(transport.TLSClientConfig.InsecureSkipVerify).To(BeFalse())
	g.Expect(transport.TLSClientConfig.RootCAs).NotTo(BeNil(), "nil would be the system's")
	g.Expect(transport.TLSClientConfig.Certificates).To(BeEmpty())
	g.Expect(client.Jar).To(BeNil())
	g.Expect(client.CheckRedirect(nil, nil)).To(Equal(http.ErrUseLastResponse))
}

func TestTransportsAreSharedByTheSameConfigOnly(t *testing.T) {
	g := NewWithT(t)
	all := NewPool(time.Second, clock.RealClock{}, nil, nil)
	get := func(change func(*Config)) *Transport {
		config := Config{Address: "https://a", Trust: publicTrust()}
		change(&config)
		w, err := all.Get(config)
		g.Expect(err).NotTo(HaveOccurred())
		return w
	}
	same := func(*Config) {}
	a := get(same)
	g.Expect(get(same)).To(BeIdenticalTo(a))
	for _, change := range []func(*Config){
		func(c *Config) { c.Address = "https://b" },
		func(c *Config) { c.Trust = Trust{pool: publicRoots(), key: [32]byte{1}} },
		func(c *Config) { c.ServerName = "b" },
		func(c *Config) { c.Proxy = "http://proxy" },
		func(c *Config) { c.Headers = newHeaders([]header{{"X-A", NewToken("a")}}) },
		func(c *Config) { c.Headers = newHeaders([]header{{"X-A", NewToken("b")}}) },
		func(c *Config) { c.ClientCertificate = &ClientCertificate{key: [32]byte{1}} },
		func(c *Config) { c.ClientCertificate = &ClientCertificate{key: [32]byte{2}} },
	} {
		g.Expect(get(change)).NotTo(BeIdenticalTo(a))
		g.Expect(get(change)).To(BeIdenticalTo(get(change)))
	}
	g.Expect(all.byKey).To(HaveLen(9))
	all.Keep(map[*Transport]bool{a: true, nil: true})
	g.Expect(all.byKey).To(HaveLen(1))
	g.Expect(get(same)).To(BeIdenticalTo(a))
}

func TestAClientCertificateChangesTheTransportAndNothingElse(t *testing.T) {
	g := NewWithT(t)
	all := NewPool(time.Second, clock.RealClock{}, nil, nil)
	w, err := all.Get(Config{Address: "https://a", Trust: publicTrust(), ServerName: "b"})
	g.Expect(err).NotTo(HaveOccurred())
	c := all.NewConn(w, Settings{Namespace: "team-a", Timeout: time.Minute, Limiter: NewRequestLimiter(nil)})
	shown := &ClientCertificate{key: [32]byte{1}}
	other, err := c.WithClientCertificate(shown)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(other.transport).NotTo(BeIdenticalTo(w))
	g.Expect(other.transport.Config).To(
		Equal(Config{Address: "https://a", Trust: publicTrust(), ServerName: "b", ClientCertificate: shown}),
	)
	g.Expect([]any{other.namespace, other.timeout, other.limiter}).To(Equal([]any{c.namespace, c.timeout, c.limiter}))
	again, err := c.WithClientCertificate(shown)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.transport).To(BeIdenticalTo(other.transport))
}

// TestWhoGoesOverAProxyIsCountedApart: a tenant's proxy that answers nothing is no failure of the Vault it was to lead to.
func TestWhoGoesOverAProxyIsCountedApart(t *testing.T) {
	g := NewWithT(t)
	pool := NewPool(time.Second, clock.RealClock{}, nil, nil)
	direct, err := pool.Get(Config{Address: "https://vault.example.com"})
	g.Expect(err).NotTo(HaveOccurred())
	proxied, err := pool.Get(Config{Address: "https://vault.example.com", Proxy: "http://mine.example.com:3128"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(direct.label()).To(Equal("https://vault.example.com"))
	g.Expect(proxied.label()).To(Equal("https://vault.example.com via http://mine.example.com:3128"))
}
