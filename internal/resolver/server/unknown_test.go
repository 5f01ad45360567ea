package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// pluginToken is a token that says the right things, forged or not.
func pluginToken(id int) string {
	return unsigned(fmt.Sprintf(`{"aud":["sallyport.dev/node"],"sub":"system:serviceaccount:sallyport-system:sallyport-node",`+
		`"exp":99999999999,"jti":"%d"}`, id))
}

func from(t *testing.T, address string) context.Context {
	t.Helper()
	return peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.ParseIP(address), Port: 1}})
}

func authorizerOf(c *cluster) *Authorizer {
	return authorizerWith(c, fake.NewClientset(), clock.RealClock{}, nil) // without a grant, nothing asks for keys
}

// authorizerWith is the authorizer of a replica that shares its keys with all that have the same Secrets.
func authorizerWith(c *cluster, secrets kubernetes.Interface, clk clock.PassiveClock, issuer *TokenIssuer) *Authorizer {
	leases := lease.NewManager(lease.Options{Secrets: secrets.CoreV1().Secrets("sallyport-system"), Clock: clk})
	plugin := types.NamespacedName{Namespace: "sallyport-system", Name: "sallyport-node"}
	return NewAuthorizer(c, c, plugin, NewGrants(leases, clk), issuer)
}

func TestATokenThatCannotBeRightCostsNoReview(t *testing.T) {
	g, c := NewWithT(t), &cluster{}
	a := authorizerOf(c)
	for _, token := range []string{
		"garbage", "a.b.c", strings.Repeat("x", 1<<20),
		unsigned(`{"aud":"vault","sub":"system:serviceaccount:sallyport-system:sallyport-node","exp":99999999999}`),
		unsigned(`{"aud":"sallyport.dev/node","sub":"system:serviceaccount:evil:web","exp":99999999999}`),
		unsigned(`{"aud":"sallyport.dev/node","sub":"system:serviceaccount:sallyport-system:sallyport-node","exp":1}`),
		unsigned(`{"aud":"sallyport.dev/node","sub":"\u001b[31mroot","exp":99999999999}`),
	} {
		_, err := a.authorizeNode(from(t, "10.0.0.9"), token)
		g.Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).NotTo(ContainSubstring("\x1b"))
	}
	g.Expect(c.reviews.Load()).To(BeZero())
}

func TestARefusalIsRemembered(t *testing.T) {
	g, c := NewWithT(t), &cluster{refuses: true}
	a := authorizerOf(c)
	for range 100 {
		_, err := a.authorizeNode(from(t, "10.0.0.9"), pluginToken(1))
		g.Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%v", err)
	}
	g.Expect(c.reviews.Load()).To(BeEquivalentTo(1))
}

func TestAFloodOfForgedTokensStarvesNoKnownNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it takes no time, in which there would be more reviews
		g, c := NewWithT(t), &cluster{}
		a := authorizerOf(c)
		const known = 1_000_000
		_, err := a.authorizeNode(from(t, "10.0.1.1"), pluginToken(known))
		g.Expect(err).NotTo(HaveOccurred())
		c.refuses = true
		for i := range 2000 {
			_, err = a.authorizeNode(from(t, "10.0.0.9"), pluginToken(i))
			g.Expect(err).To(HaveOccurred())
		}
		g.Expect(c.reviews.Load()).To(BeEquivalentTo(1+unknownSourceBurst), "one source")
		for i := range 20_000 {
			_, err = a.authorizeNode(from(t, fmt.Sprintf("10.1.%d.%d", i/256, i%256)), pluginToken(10_000+i))
			g.Expect(err).To(HaveOccurred())
		}
		g.Expect(c.reviews.Load()).To(BeEquivalentTo(unknownInAllBurst), "all sources")
		c.refuses = false
		a.tokens.accepted.Remove(a.tokens.digestOf(pluginToken(known), v1alpha1.AudienceNode)) // as after acceptedTTL
		_, err = a.authorizeNode(from(t, "10.0.1.1"), pluginToken(known))
		g.Expect(err).NotTo(HaveOccurred())
	})
}

// served is a client of a real server over TLS.
func served(t *testing.T, c *cluster) resolverv1.ResolverClient {
	t.Helper()
	return resolverv1.NewResolverClient(dialFrom(t, serve(t, c, unknownLife), "127.0.0.1"))
}

// serve starts a real server over TLS, and returns its address.
func serve(t *testing.T, c *cluster, life time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	serveOn(t, listener, c, life)
	return listener.Addr().String()
}

// serveOn starts a real server over TLS.
func serveOn(t *testing.T, listener net.Listener, c *cluster, life time.Duration) (stop func()) {
	t.Helper()
	certificate, err := NewServingCertificate("replica", net.ParseIP("127.0.0.1"), clock.RealClock{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	server := New(Options{Authorizer: authorizerOf(c), Certificate: certificate, Listener: listener, Log: logr.Discard()})
	server.listener.unknownLife = life
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Start(ctx) }()
	stopAndWait := stopped(t, stop, done)
	t.Cleanup(stopAndWait)
	return stopAndWait
}

func stopped(t *testing.T, stop func(), done <-chan error) func() {
	t.Helper()
	return sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Log(err)
		}
	})
}

// dialFrom is a client's connection that comes from an address of this machine.
func dialFrom(t testing.TB, address, source string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(insecure())),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
	}, options...)
	connection, err := grpc.NewClient("passthrough:"+address, options...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func insecure() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
}

func TestAMessageIsNotTakenBeforeTheCallerIsKnown(t *testing.T) {
	g := NewWithT(t)
	client := served(t, &cluster{})
	ctx := metadata.AppendToOutgoingContext(t.Context(), resolverv1.AuthorizationKey, "Bearer garbage")
	// More than a message may have: the refusal is of the caller, and not of what nobody has looked at.
	const large = 3 << 20
	_, err := client.Release(ctx, &resolverv1.ReleaseRequest{Leases: make([]byte, large)})
	g.Expect(status.Code(err)).To(Equal(codes.PermissionDenied), "%v", err)
	g.Expect(resolverv1.DecodeFault(err)).To(HaveField("Reason", v1alpha1.ReasonNotAllowed))

	stream, err := client.ResolveEach(ctx)
	g.Expect(err).NotTo(HaveOccurred())
	_ = stream.Send(&resolverv1.ResolveRequest{Leases: make([]byte, large)}) // Recv says why it fails
	_, err = stream.Recv()
	g.Expect(status.Code(err)).To(Equal(codes.PermissionDenied), "%v", err)
	g.Expect(resolverv1.DecodeFault(err)).To(HaveField("Reason", v1alpha1.ReasonNotAllowed))
}

func TestAPanicIsTheFaultOfOneRequest(t *testing.T) {
	g := NewWithT(t)
	client := served(t, &cluster{}) // without leases and engine, so that every known request panics
	ctx := metadata.AppendToOutgoingContext(t.Context(), resolverv1.AuthorizationKey, "Bearer "+pluginToken(1))
	for range 2 {
		_, err := client.Changes(ctx, &resolverv1.ChangesRequest{})
		g.Expect(resolverv1.DecodeFault(err)).To(HaveField("Reason", v1alpha1.ReasonInternal), "%v", err)
	}
}

func TestASourceHasItsShareOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		l := listenTo(t, func(*limitedListener) {})
		var first net.Conn
		for range maxConnectionsPerSource {
			first = connectFrom(t, l, "127.0.3.1")
		}
		g.Expect(isOpen(first)).To(BeTrue())
		time.Sleep(time.Second) // no faster than it may
		g.Expect(isOpen(connectFrom(t, l, "127.0.3.1"))).To(BeFalse())
		g.Expect(isOpen(connectFrom(t, l, "127.0.3.2"))).To(BeTrue())
		g.Expect(first.Close()).To(Succeed())
		synctest.Wait()
		g.Expect(isOpen(connectFrom(t, l, "127.0.3.1"))).To(BeTrue(), "what is closed is given back")
	})
}

func TestAnInventedVolumeIDIsRefused(t *testing.T) {
	g := NewWithT(t)
	a := authorizerOf(&cluster{})
	claims := &tokenClaims{namespace: "shop", serviceAccount: "web", podName: "one", podUID: "uid of one", nodeName: "node-a"}
	attributes := map[string]string{v1alpha1.AttributeConnection: "of shop/one"}
	for id, allowed := range map[string]bool{
		"": true, kubeletVolumeID("uid of one", ""): true, "csi-invented": false, kubeletVolumeID("uid of one", "other"): false,
	} {
		authorization, err := a.authorizeVolume(t.Context(), claims, nil, id, attributes)
		g.Expect(err == nil).To(Equal(allowed), "%s: %v", id, err)
		if allowed {
			g.Expect(authorization.VolumeID).To(Equal(kubeletVolumeID("uid of one", "")))
		}
	}
	// As the kubelet of Kubernetes 1.37 has it.
	g.Expect(kubeletVolumeID("a", "b")).To(Equal("csi-fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"))
}
