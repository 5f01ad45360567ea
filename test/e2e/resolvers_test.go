package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	resolverclient "sallyport.dev/sallyport/internal/resolver/client"
)

// published returns the certificates of the resolvers that nodes trust, by pod.
func published(ctx context.Context) map[string]string {
	GinkgoHelper()
	resolvers := &corev1.ConfigMap{}
	Expect(client.IgnoreNotFound(api.Get(ctx, inSystem(resolverv1.ConfigMapName), resolvers))).To(Succeed())
	return resolvers.Data
}

// resolve asks a replica as a node plugin would.
func resolve(ctx context.Context, replica *corev1.Pod, r request) (*resolverv1.ResolveResponse, error) {
	GinkgoHelper()
	trusted := x509.NewCertPool()
	Expect(trusted.AppendCertsFromPEM([]byte(published(ctx)[replica.Name]))).To(BeTrue(), "certificate of %s", replica.Name)
	connection, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(replica.Status.PodIP, strconv.Itoa(resolverv1.Port)),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: trusted, ServerName: replica.Status.PodIP, MinVersion: tls.VersionTLS13})),
		grpc.WithNoProxy())
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = connection.Close() }()
	if r.nodeToken != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, resolverv1.AuthorizationKey, "Bearer "+r.nodeToken)
	}
	return resolverv1.NewResolverClient(connection).Resolve(ctx, &resolverv1.ResolveRequest{PodToken: r.podToken, VolumeAttributes: r.attributes})
}

// ownTokens are the tokens that the kubelet has made for a pod of Sallyport, by their audience; none is the API server's.
func ownTokens(pod *corev1.Pod) map[string]string {
	GinkgoHelper()
	tokens := map[string]string{}
	for audience, file := range map[string]string{"": "kubernetes.io/serviceaccount/token", v1alpha1.AudienceNode: "sallyport.dev/token"} {
		if audience == v1alpha1.AudienceNode && pod.Spec.ServiceAccountName != "sallyport-node" {
			continue
		}
		content, err := os.ReadFile(inPod(pod, "/var/run/secrets/"+file))
		Expect(err).NotTo(HaveOccurred(), "token of pod %s", pod.Name)
		tokens[audience] = strings.TrimSpace(string(content))
	}
	return tokens
}

// accepted are the audiences of those tokens that the API server accepts.
func accepted(ctx context.Context, tokens map[string]string) []string {
	GinkgoHelper()
	audiences := []string{}
	for audience, token := range tokens {
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
		if audience != "" {
			review.Spec.Audiences = []string{audience}
		}
		Expect(api.Create(ctx, review)).To(Succeed())
		if review.Status.Authenticated {
			audiences = append(audiences, audience)
		}
	}
	return audiences
}

func contents(response *resolverv1.ResolveResponse) map[string]string {
	files := map[string]string{}
	for _, file := range response.GetFiles() {
		files[file.GetPath()] = string(file.GetContent())
	}
	return files
}

func codeAndReason(err error) string {
	s := status.Convert(err)
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == resolverv1.ErrorDomain {
			return s.Code().String() + " " + info.GetReason()
		}
	}
	return s.Code().String()
}

var _ = Describe("The list of resolvers", func() {
	It("can be changed by nobody but the resolvers, not even by an administrator", func(ctx SpecContext) {
		list := &corev1.ConfigMap{}
		Expect(api.Get(ctx, inSystem(resolverv1.ConfigMapName), list)).To(Succeed())
		impostor, _ := selfSigned(net.IPv4(127, 0, 0, 1))
		before := client.MergeFrom(list.DeepCopy())
		list.Data["impostor"] = impostor
		Expect(api.Patch(ctx, list, before)).To(And(Satisfy(apierrors.IsForbidden), MatchError(ContainSubstring("only Sallyport's controller"))))
		Expect(published(ctx)).NotTo(HaveKey("impostor"))
	}, SpecTimeout(soon))

	It("cannot be used by one replica to pose as another", func(ctx SpecContext) {
		replicas := systemPods(ctx, "controller")
		Expect(len(replicas)).To(BeNumerically(">=", 2))
		list := &corev1.ConfigMap{}
		Expect(api.Get(ctx, inSystem(resolverv1.ConfigMapName), list)).To(Succeed())
		impostor, _ := selfSigned(net.IPv4(127, 0, 0, 1))
		before := client.MergeFrom(list.DeepCopy())
		list.Data[replicas[1].Name] = impostor
		Expect(asReplica(systemNamespace, replicas[0].Name).Patch(ctx, list, before)).
			To(And(Satisfy(apierrors.IsForbidden), MatchError(ContainSubstring("only under the name of its own pod"))))
	}, SpecTimeout(soon))

	It("keeps nodes from showing tokens to a server with another certificate", func(ctx SpecContext) {
		t := newTenant(ctx)
		here := net.IPv4(127, 0, 0, 1)
		certificate, genuine := selfSigned(here)
		_, impostor := selfSigned(here)
		list := &corev1.ConfigMap{ObjectMeta: t.meta(resolverv1.ConfigMapName), Data: map[string]string{"replica": certificate}}
		grantConfigMaps(ctx, t)
		Eventually(ctx, func() error { return asReplica(t.namespace, "replica").Create(ctx, list) }).WithTimeout(soon).Should(Succeed())

		requests, err := requestsToFakeResolver(ctx, t, genuine)
		Expect(err).NotTo(HaveOccurred())
		Expect(requests).To(BeNumerically("==", 1), "requests that reached the server with the published certificate")
		requests, err = requestsToFakeResolver(ctx, t, impostor)
		Expect(err).To(MatchError(ContainSubstring("its certificate is not the published one")))
		Expect(requests).To(BeZero(), "requests that reached the impostor")
	}, SpecTimeout(eventual))
})

// asReplica returns a client that the API server takes for a replica of the controller.
func asReplica(namespace, pod string) client.Client {
	GinkgoHelper()
	impersonated := rest.CopyConfig(restConfig)
	impersonated.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":sallyport-controller",
		Groups:   []string{"system:serviceaccounts", "system:authenticated"},
		Extra:    map[string][]string{"authentication.kubernetes.io/pod-name": {pod}},
	}
	c, err := client.New(impersonated, client.Options{Scheme: api.Scheme()})
	Expect(err).NotTo(HaveOccurred())
	return c
}

// fakeResolver counts the requests that reach it.
type fakeResolver struct {
	resolverv1.UnimplementedResolverServer
	requests atomic.Int64
}

func (f *fakeResolver) Resolve(context.Context, *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	f.requests.Add(1)
	return &resolverv1.ResolveResponse{}, nil
}

// requestsToFakeResolver has the node plugin's own client ask a server with a certificate, and returns how many
// requests it got.
func requestsToFakeResolver(ctx context.Context, t *tenant, certificate tls.Certificate) (int64, error) {
	GinkgoHelper()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	fake := &fakeResolver{}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})))
	resolverv1.RegisterResolverServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	tokenFile := filepath.Join(GinkgoT().TempDir(), "token")
	Expect(os.WriteFile(tokenFile, []byte(newSecret("a node plugin's token")), 0o600)).To(Succeed())
	asking := resolverclient.New(resolverclient.Config{
		Kubernetes: clientset, Namespace: t.namespace, NodeName: "node", TokenFile: tokenFile, Port: listener.Addr().(*net.TCPAddr).Port,
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { _ = asking.Run(ctx) }()
	_, err = asking.Resolve(ctx, &resolverv1.ResolveRequest{
		PodToken: newSecret("a pod's token"), VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: "db"},
	})
	return fake.requests.Load(), err
}

// selfSigned makes a certificate as a replica does.
func selfSigned(ip net.IP) (string, tls.Certificate) {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "replica"}, IPAddresses: []net.IP{ip},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// grantConfigMaps lets the service account sallyport-controller of the tenant's namespace make ConfigMaps there.
func grantConfigMaps(ctx context.Context, t *tenant) {
	GinkgoHelper()
	create(ctx, &rbacv1.Role{
		ObjectMeta: t.meta("replica"),
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}}},
	}, &rbacv1.RoleBinding{
		ObjectMeta: t.meta("replica"),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "replica"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: t.namespace, Name: "sallyport-controller"}},
	})
}
