package isolation

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
)

// podAddress is that of the hostile tenant's pods, which is not the node's.
const podAddress = "127.66.0.1"

// dialFrom connects as a pod would.
func dialFrom(ctx context.Context, address string) (net.Conn, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(podAddress)}, Timeout: 5 * time.Second}
	return dialer.DialContext(ctx, "tcp", address)
}

// inventedToken has the form and all the claims of a node plugin's token, and a signature that is nobody's.
func inventedToken(number int64) string {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"aud":[%q],"exp":%d,"iss":"https://kubernetes.default.svc.cluster.local","sub":`+
		`"system:serviceaccount:sallyport-system:sallyport-node","jti":"%d"}`, v1alpha1.AudienceNode, time.Now().Add(time.Hour).Unix(), number)
	return part([]byte(`{"alg":"RS256","kid":"x"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
}

func inventedTokens(t *Tenant) (Proof, error) {
	var sent, refused atomic.Int64
	body := &resolverv1.ResolveRequest{PodToken: strings.Repeat("x", 100_000), VolumeId: "x"}
	reviews := func() int { return t.s.reviews(t.ctx) }
	before := reviews()
	for i := range 8 {
		connection, err := grpc.NewClient("passthrough:"+t.s.ResolverAddresses[i%replicas],
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})),
			grpc.WithContextDialer(dialFrom))
		if err != nil {
			return nil, err
		}
		t.onStop(func() { _ = connection.Close() })
		resolver := resolverv1.NewResolverClient(connection)
		for range 8 {
			t.loop(func(ctx context.Context, _ int) {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+inventedToken(sent.Add(1)))
				if _, err := resolver.Resolve(ctx, body); err != nil {
					refused.Add(1)
				}
				sleep(ctx, 5*time.Millisecond)
			})
		}
	}
	return both(atLeast(2000, "requests were refused", func() int { return int(refused.Load()) }), func() (string, error) {
		asked := reviews() - before
		text := fmt.Sprintf("%d TokenReviews meanwhile", asked)
		if most := int(sent.Load()) / 4; asked > most {
			return text, fmt.Errorf("%s for %d requests with invented tokens", text, sent.Load())
		}
		return text, nil
	}), nil
}

// reviews is how many TokenReviews the API server has made.
func (s *System) reviews(ctx context.Context) int {
	content, err := s.Clients.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0
	}
	sum := 0.0
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "apiserver_request_total{") && strings.Contains(line, `resource="tokenreviews"`) {
			var number float64
			_, _ = fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &number)
			sum += number
		}
	}
	return int(sum)
}

// silentConnections are opened, begin to speak or not, and stay.
func silentConnections(t *Tenant) (Proof, error) {
	var opened atomic.Int64
	beginnings := []string{"", "\x16\x03\x01\x02\x00\x01", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}
	for i := range heavier(1000, 4000) {
		t.loops.Go(func() {
			for t.ctx.Err() == nil {
				connection, err := dialFrom(t.ctx, t.s.ResolverAddresses[i%replicas])
				if err == nil {
					opened.Add(1)
					_, _ = connection.Write([]byte(beginnings[i%len(beginnings)]))
					stop := context.AfterFunc(t.ctx, func() { _ = connection.Close() })
					_, _ = connection.Read(make([]byte, 1<<10))
					_, _ = connection.Read(make([]byte, 1<<10))
					stop()
					_ = connection.Close()
				}
				sleep(t.ctx, time.Second)
			}
		})
	}
	return atLeast(500, "connections were opened", func() int { return int(opened.Load()) }), nil
}

// pods makes pods with ten volumes each, and has the kubelet mount them.
func (t *Tenant) mountPods(number int, connections ...string) (*mounts, error) {
	var requests []*csi.NodePublishVolumeRequest
	for i := range number {
		more, err := t.newPod(fmt.Sprintf("pod-%d", i), connections...)
		if err != nil {
			return nil, err
		}
		requests = append(requests, more...)
	}
	return t.keepMounting(requests), nil
}

// ten makes the Connections of a pod's ten volumes.
func (t *Tenant) ten(option func(*v1alpha1.Connection)) ([]string, error) {
	var names []string
	for i := range 10 {
		names = append(names, fmt.Sprintf("connection-%d", i))
	}
	return names, t.createMany(len(names), func(i int) client.Object {
		return t.connection(names[i], fmt.Sprintf("x/%d", i), option)
	})
}

// hangingVolumes are mounted while their Vault answers, and refreshed when it no longer does.
func hangingVolumes(t *Tenant) (Proof, error) {
	var silent atomic.Bool
	var hung atomic.Int64
	var s *server
	s, err := t.serveAs(func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		if silent.Load() {
			hung.Add(1)
			s.hang(r.Context())
		}
		return silent.Load()
	})
	if err != nil {
		return nil, err
	}
	names, err := t.ten(func(*v1alpha1.Connection) {})
	if err != nil {
		return nil, err
	}
	mounts, err := t.mountPods(10, names...)
	if err != nil {
		return nil, err
	}
	err = eventually(t.ctx, 20*time.Second, func(context.Context) error {
		if mounted := mounts.mounted(); mounted < 100 {
			return fmt.Errorf("%d volumes are mounted", mounted)
		}
		return nil
	})
	silent.Store(true)
	return both(atLeast(100, "volumes", mounts.mounted), atLeast(1, "requests hung", func() int { return int(hung.Load()) })), err
}

func emptyFiles(t *Tenant) (Proof, error) {
	if _, err := t.serveAs(nil); err != nil {
		return nil, err
	}
	value := map[string]any{}
	for i := range 510 {
		value[fmt.Sprintf("%0250d", i)] = ""
	}
	names, err := t.ten(func(c *v1alpha1.Connection) { c.Spec.Value, c.Spec.VaultSecrets = builder.JSON(value), nil })
	if err != nil {
		return nil, err
	}
	mounts, err := t.mountPods(12, names...)
	if err != nil {
		return nil, err
	}
	return both(atLeast(120, "mounts were asked for", mounts.asked), func() (string, error) {
		return fmt.Sprintf("%d were mounted", mounts.mounted()), nil
	}), nil
}

func manyVolumes(t *Tenant) (Proof, error) {
	if _, err := t.serveAs(nil); err != nil {
		return nil, err
	}
	names, err := t.ten(func(*v1alpha1.Connection) {})
	if err != nil {
		return nil, err
	}
	mounts, err := t.mountPods(heavier(40, 300), names...)
	if err != nil {
		return nil, err
	}
	return both(atLeast(200, "mounts were asked for", mounts.asked), func() (string, error) {
		return fmt.Sprintf("%d were mounted", mounts.mounted()), nil
	}), nil
}
