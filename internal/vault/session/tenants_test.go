package session

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport/metering"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/builder"
)

const tokenResponse = `{"request_id":"1","data":{"ttl":3600,"renewable":true},"auth":{"client_token":"t","lease_duration":3600,"renewable":true}}`

func respond(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, tokenResponse)
}

func certificateOf(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func TestAConnectionOfTypeVaultLeadsNowhereThatAVaultConfigMayNot(t *testing.T) {
	g := NewWithT(t)
	var reached atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		respond(w)
	}))
	defer server.Close()
	guard, err := networks.NewGuard(nil, nil)
	g.Expect(err).NotTo(HaveOccurred())
	objects := fake.NewClientBuilder().WithObjects(builder.TokenSecret("shop", "vault-token", "t")).Build()
	sessions, err := NewSessions(Options{Reader: objects, Networks: guard})
	g.Expect(err).NotTo(HaveOccurred())
	config := builder.VaultConfig("shop", "main", builder.WithAddress(server.URL, certificateOf(server)), func(c *v1alpha1.VaultConfig) { c.UID = "u" })
	_, err = sessions.For(t.Context(), config)
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
	config = config.DeepCopy()
	config.TypeMeta, config.UID = metav1.TypeMeta{Kind: "Connection"}, "c"
	_, _, err = sessions.Ephemeral(t.Context(), config, map[string]string{"token": "t"})
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
	g.Expect(reached.Load()).To(BeZero())
}

func TestATaskWithAConnectionForgetsNobodysMetrics(t *testing.T) {
	g := NewWithT(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { respond(w) }))
	defer server.Close()
	const namespace = "metered" // its own share of what is counted
	objects := fake.NewClientBuilder().WithObjects(builder.TokenSecret(namespace, "vault-token", "t")).Build()
	sessions, err := NewSessions(Options{Reader: objects, AllowedURLs: []string{server.URL, "http://other.invalid"}})
	g.Expect(err).NotTo(HaveOccurred())
	registry := prometheus.NewRegistry()
	g.Expect(metering.RegisterMetrics(registry)).To(Succeed())
	series := func() (count int) {
		families, failure := registry.Gather()
		g.Expect(failure).NotTo(HaveOccurred())
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				for _, label := range metric.GetLabel() {
					if label.GetValue() == server.URL {
						count++
					}
				}
			}
		}
		return count
	}
	config := builder.VaultConfig(namespace, "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) { c.UID = "u" })
	_, err = sessions.For(t.Context(), config)
	g.Expect(err).NotTo(HaveOccurred())
	before := series()
	g.Expect(before).NotTo(BeZero())

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	other := builder.VaultConfig("other", "x", builder.WithURL("http://other.invalid"), func(c *v1alpha1.VaultConfig) { c.UID, c.Kind = "c", "Connection" })
	_, done, err := sessions.Ephemeral(ctx, other, map[string]string{"token": "t"})
	if err == nil {
		done()
	}
	g.Expect(series()).To(Equal(before))
}

// tunnel is an HTTP proxy that leads every connection to one server, whatever it is asked for.
func tunnel(t *testing.T, to *httptest.Server) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		server, err := net.Dial("tcp", to.Listener.Addr().String())
		if err != nil {
			return
		}
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		_, _ = io.Copy(client, server)
		_ = client.Close()
	}))
	t.Cleanup(proxy.CloseClientConnections)
	return proxy.URL
}

func TestALoginOverAnotherWayHoldsUpNobody(t *testing.T) {
	g := NewWithT(t)
	good := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { respond(w) }))
	defer good.Close()
	const hangsFor = time.Minute
	arrived, ended := make(chan struct{}, 10), make(chan struct{})
	hangs := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	// A login goes on without who asked for it, and one may begin after the connections were closed.
	defer func() { close(ended); hangs.CloseClientConnections(); hangs.Close() }()
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		builder.Secret("shop", "pw", map[string]string{"password": "right"}),
		builder.Secret("other", "pw", map[string]string{"password": "x"})).Build()
	sessions, err := NewSessions(Options{Reader: objects, Timeout: hangsFor})
	g.Expect(err).NotTo(HaveOccurred())
	login := builder.WithAuth(v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
		Username: "shop", PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: "pw", Key: "password"},
	}})
	over := func(namespace string, uid types.UID, proxy string) *v1alpha1.VaultConfig {
		return builder.VaultConfig(namespace, "main", builder.WithAddress("https://example.com:8200", certificateOf(good)), login,
			func(c *v1alpha1.VaultConfig) { c.UID, c.Spec.Proxy = uid, &v1alpha1.VaultProxy{URL: proxy} })
	}
	hanging := tunnel(t, hangs)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 3 {
		go func() { _, _ = sessions.For(ctx, over("other", types.UID(fmt.Sprint("other", i)), hanging)) }()
	}
	<-arrived
	victim, left := context.WithTimeout(t.Context(), hangsFor/2) // the others still hang then
	defer left()
	_, err = sessions.For(victim, over("shop", "victim", tunnel(t, good)))
	g.Expect(err).NotTo(HaveOccurred())
}

func TestWayTo(t *testing.T) {
	g := NewWithT(t)
	config := func(change func(*v1alpha1.VaultConfig)) *v1alpha1.VaultConfig {
		return builder.VaultConfig("shop", "main", builder.WithAddress("https://vault", "ca"), change)
	}
	same := WayTo(config(func(*v1alpha1.VaultConfig) {}))
	g.Expect(WayTo(config(func(c *v1alpha1.VaultConfig) { c.Namespace, c.Spec.EnginePath = "other", "kv" }))).To(Equal(same))
	ways := map[string]bool{same: true}
	changes := []func(*v1alpha1.VaultConfig){
		func(c *v1alpha1.VaultConfig) { c.Spec.URL = "https://other" },
		func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "team" },
		func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "another" },
		func(c *v1alpha1.VaultConfig) { c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{} },
		func(c *v1alpha1.VaultConfig) {
			c.Namespace, c.Spec.CACertificateFrom = "other", &v1alpha1.CACertificateSource{}
		},
		func(c *v1alpha1.VaultConfig) { c.Spec.TLS = &v1alpha1.VaultTLS{ServerName: "other"} },
		func(c *v1alpha1.VaultConfig) { c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "http://proxy"} },
		func(c *v1alpha1.VaultConfig) {
			c.Spec.Headers = []v1alpha1.VaultHeader{{Name: "X-Backend", Value: "a"}}
		},
		func(c *v1alpha1.VaultConfig) {
			c.Spec.Headers = []v1alpha1.VaultHeader{{Name: "X-Backend", Value: "b"}}
		},
	}
	for _, change := range changes {
		ways[WayTo(config(change))] = true
	}
	g.Expect(ways).To(HaveLen(len(changes) + 1))
}

// TestTheWayOfAVaultConfigWithoutHeadersStaysWhatItWas: volumes keep the digest, also those that an earlier version made.
func TestTheWayOfAVaultConfigWithoutHeadersStaysWhatItWas(t *testing.T) {
	g := NewWithT(t)
	config := builder.VaultConfig("shop", "main", builder.WithAddress("https://vault", "ca"))
	g.Expect(WayTo(config)).To(Equal("4b597c553732eed5237c431440160453affc4007c8ff724075667b2dcd496795"))
}
