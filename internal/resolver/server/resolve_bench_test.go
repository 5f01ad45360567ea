package server

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"os"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/metadata"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/internal/lease"
	"sallyport.dev/sallyport/internal/resolver"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/resolver/usage"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/farvault"
)

func TestMain(m *testing.M) { os.Exit(farvault.Run(m)) }

// refreshing is a replica, and the refresh of a volume that a node has a grant for and whose secret did not change.
type refreshing struct {
	server  *Server
	node    string
	request *resolverv1.ResolveRequest
	clock   *testingclock.FakePassiveClock // of the engine
}

func newRefreshing(b *testing.B) *refreshing {
	b.Helper()
	f := newGranting(b)
	key, err := rsa.GenerateKey(rand.Reader, 2048) // as kubeadm makes them
	f.Expect(err).NotTo(HaveOccurred())
	f.signer.use("rsa", jose.RS256, key)
	f.request.PodToken = f.podToken("one", "uid of one", "web", "uid-web", f.clock.Now().Add(time.Hour))
	f.mount()
	objects := farvault.NewObjects(farvault.Start(b))
	sessions, err := session.NewSessions(session.Options{Reader: objects})
	f.Expect(err).NotTo(HaveOccurred())
	certified, err := NewServingCertificate("replica", net.ParseIP("127.0.0.1"), clock.RealClock{})
	f.Expect(err).NotTo(HaveOccurred())
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	f.Expect(err).NotTo(HaveOccurred())
	clk := testingclock.NewFakePassiveClock(time.Now())
	return &refreshing{
		server: New(Options{
			Engine: resolver.NewEngine(objects, sessions, clk), Connections: objects, Authorizer: f.replica(),
			Leases: lease.NewManager(lease.Options{
				Objects: objects, Sessions: sessions, Secrets: f.secrets.CoreV1().Secrets("sallyport-system"), Clock: clock.RealClock{},
			}),
			Volumes: usage.NewVolumeTracker(clock.RealClock{}), Events: NewPodEvents(nil, clock.RealClock{}),
			Certificate: certified, Listener: listener, Log: logr.Discard(),
		}),
		node: f.node, request: f.request, clock: clk,
	}
}

// run measures a refresh, with a read in Vault or with what is known of the secret.
func (f *refreshing) run(b *testing.B, resolve func() (*resolverv1.ResolveResponse, error)) {
	b.Helper()
	first, err := resolve()
	if err != nil {
		b.Fatal(err)
	}
	f.request.Revision = first.GetRevision()
	for _, how := range []string{"known", "read"} {
		b.Run(how, func(b *testing.B) {
			b.ReportAllocs()
			defer farvault.CPU(b)()
			for b.Loop() {
				if how == "read" {
					f.clock.SetTime(f.clock.Now().Add(resolver.DefaultRefreshInterval))
				}
				response, err := resolve()
				if err != nil || !response.GetUnchanged() || len(response.GetGrant()) > 0 {
					b.Fatal(response, err)
				}
			}
		})
	}
}

// BenchmarkRefresh is the work of a replica for a refresh, without the network.
func BenchmarkRefresh(b *testing.B) {
	f := newRefreshing(b)
	_ = f.server.listener.Close()
	ctx := metadata.NewIncomingContext(b.Context(), metadata.Pairs(resolverv1.AuthorizationKey, "Bearer "+f.node))
	f.run(b, func() (*resolverv1.ResolveResponse, error) { return f.server.Resolve(ctx, f.request) })
}

// BenchmarkRefreshOverGRPC is a refresh with the network: the node's half of it and the replica's.
func BenchmarkRefreshOverGRPC(b *testing.B) {
	f := newRefreshing(b)
	ctx, stop := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- f.server.Start(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	node := resolverv1.NewResolverClient(dialFrom(b, f.server.listener.Addr().String(), "127.0.0.1"))
	f.run(b, func() (*resolverv1.ResolveResponse, error) {
		return node.Resolve(with(b.Context(), f.node), f.request)
	})
}
