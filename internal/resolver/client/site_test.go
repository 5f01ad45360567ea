package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/resolver/client"
)

// site is a namespace with replicas of the resolver and a node that asks them.
type site struct {
	t          *testing.T
	kubernetes *fake.Clientset
	port       int
	node       string
	tokenFile  string
	replicas   []*replica
	// callTimeout is what one replica may take of a call.
	callTimeout time.Duration
}

func newSite(t *testing.T, addresses ...string) *site {
	t.Helper()
	s := &site{
		t: t, kubernetes: fake.NewClientset(), port: freePort(t), node: "node-1",
		tokenFile: filepath.Join(t.TempDir(), "token"), callTimeout: time.Minute,
	}
	NewWithT(t).Expect(os.WriteFile(s.tokenFile, []byte("node-token"), 0o600)).To(Succeed())
	bundles := map[string]string{}
	for i, address := range addresses {
		pair, bundle := certificate(address, time.Hour)
		r := &replica{address: address, bundle: bundle}
		r.serve(t, s.port, pair)
		s.replicas = append(s.replicas, r)
		bundles[fmt.Sprintf("sallyport-%d", i)] = bundle
	}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: resolverv1.ConfigMapName}, Data: bundles}
	_, err := s.kubernetes.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap, metav1.CreateOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s
}

func (s *site) config() client.Config {
	return client.Config{
		Kubernetes: s.kubernetes, Namespace: namespace, NodeName: s.node, TokenFile: s.tokenFile, Port: s.port,
		Timeout: 2 * time.Minute, CallTimeout: s.callTimeout, SyncTimeout: time.Minute,
	}
}

// client returns a client that runs until the test ends.
func (s *site) client(t *testing.T, options ...func(*client.Config)) *client.Client {
	t.Helper()
	config := s.config()
	for _, option := range options {
		option(&config)
	}
	c := client.New(config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c
}

func (s *site) publish(bundles map[string]string) {
	s.t.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: resolverv1.ConfigMapName}, Data: bundles}
	_, err := s.kubernetes.CoreV1().ConfigMaps(namespace).Update(context.Background(), configMap, metav1.UpdateOptions{})
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
}

func (s *site) asked() int {
	asked := 0
	for _, r := range s.replicas {
		asked += r.asked
	}
	return asked
}

func (s *site) theOneAsked(g *WithT) *replica {
	var one *replica
	for _, r := range s.replicas {
		if r.asked > 0 {
			g.Expect(one).To(BeNil(), "more than one replica was asked")
			one = r
		}
	}
	g.Expect(one).NotTo(BeNil())
	return one
}

// replica is one resolver that answers what the test says.
type replica struct {
	resolverv1.UnimplementedResolverServer

	address, bundle string
	server          *grpc.Server

	answer error
	hang   bool
	// hangs are the volumes whose requests hang, and older is whether it knows no rounds.
	hangs map[string]bool
	older bool
	// refuses is what calls for several volumes end with, and serves another service in place of this one.
	refuses error
	serves  resolverv1.ResolverServer
	// content is what a volume's file holds, and sent how many bytes went out.
	content []byte
	sent    atomic.Int64

	mu       sync.Mutex
	asked    int
	rounds   int
	open     int
	volumes  []string
	tokens   []string
	callers  []string
	released []string
	remain   []bool
}

// serve starts the replica with this certificate, in place of what it served before.
func (r *replica) serve(t *testing.T, port int, pair tls.Certificate) {
	t.Helper()
	if r.server != nil {
		r.server.Stop()
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(r.address, fmt.Sprint(port)))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	r.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
	})))
	if r.serves == nil {
		r.serves = r
	}
	resolverv1.RegisterResolverServer(r.server, r.serves)
	go func() { _ = r.server.Serve(&countingListener{Listener: listener, sent: &r.sent}) }()
	t.Cleanup(r.server.Stop)
}

// calls are how many calls for several volumes there were, and how many of them are under way.
func (r *replica) calls() (all, open int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rounds, r.open
}

// count is how often it was asked.
func (r *replica) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *replica) Release(ctx context.Context, request *resolverv1.ReleaseRequest) (*resolverv1.ReleaseResponse, error) {
	r.mu.Lock()
	r.released = append(r.released, string(request.GetLeases()))
	r.remain = append(r.remain, request.GetOthersRemain())
	r.mu.Unlock()
	if _, err := r.Resolve(ctx, nil); err != nil {
		return nil, err
	}
	return &resolverv1.ReleaseResponse{}, nil
}

// ResolveEach answers each request as Resolve does.
func (r *replica) ResolveEach(stream grpc.BidiStreamingServer[resolverv1.ResolveRequest, resolverv1.ResolveEachResponse]) error {
	r.mu.Lock()
	r.rounds++
	if r.older {
		r.mu.Unlock()
		return r.UnimplementedResolverServer.ResolveEach(stream)
	}
	if r.refuses != nil {
		r.mu.Unlock()
		return r.refuses
	}
	r.open++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open--
	}()
	var sending sync.Mutex
	var serving sync.WaitGroup
	defer serving.Wait()
	for index := uint32(0); ; index++ {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		serving.Go(func() {
			response, err := r.Resolve(stream.Context(), request)
			message := &resolverv1.ResolveEachResponse{Index: index, Answer: &resolverv1.ResolveEachResponse_Response{Response: response}}
			sending.Lock()
			defer sending.Unlock()
			switch {
			case err != nil:
				message.Answer = &resolverv1.ResolveEachResponse_Failure{Failure: resolverv1.EncodeFailure(err)}
			case r.content != nil:
				_ = stream.Send(&resolverv1.ResolveEachResponse{Index: index, Answer: &resolverv1.ResolveEachResponse_Alone{Alone: true}})
			}
			_ = stream.Send(message)
		})
	}
}

func (r *replica) Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	r.mu.Lock()
	r.asked++
	r.volumes = append(r.volumes, request.GetVolumeId())
	r.tokens = append(r.tokens, metadata.ValueFromIncomingContext(ctx, resolverv1.AuthorizationKey)...)
	if caller, ok := peer.FromContext(ctx); ok {
		r.callers = append(r.callers, caller.Addr.(*net.TCPAddr).IP.String())
	}
	hang := r.hang || r.hangs[request.GetVolumeId()]
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if r.answer != nil {
		return nil, r.answer
	}
	response := &resolverv1.ResolveResponse{Revision: "r1" + request.GetVolumeId()}
	if r.content != nil {
		response.Files = []*resolverv1.File{{Path: "f", Content: r.content}}
	}
	return response, nil
}

func request() *resolverv1.ResolveRequest {
	return &resolverv1.ResolveRequest{PodToken: "pod-token", VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: "db"}}
}

// certificate makes what a replica makes for itself.
func certificate(address string, life time.Duration) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(life),
		IPAddresses:  []net.IP{net.ParseIP(address)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// freePort returns a port that is free on every loopback address. It is none of those that are given to who wants any.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 10_000 + mathrand.IntN(20_000)
		listener, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(listener.Close()).To(Succeed())
		return port
	}
}

// countingListener counts what its connections send.
type countingListener struct {
	net.Listener
	sent *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	return &countingConn{Conn: connection, sent: l.sent}, err
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *countingConn) Write(content []byte) (int, error) {
	c.sent.Add(int64(len(content)))
	return c.Conn.Write(content)
}
