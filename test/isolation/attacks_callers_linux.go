package isolation

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// podAddress is that of one of the hostile tenant's pods. None of them is the node's.
func podAddress(pod int) string { return fmt.Sprintf("127.66.%d.%d", pod/250, 1+pod%250) }

// dialFrom connects from an address.
func dialFrom(source string) func(ctx context.Context, address string) (net.Conn, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 5 * time.Second}
	return func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}
}

// unverified is for who does not mind whom it speaks to.
func unverified() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
}

// dialResolver is a connection to a replica's resolver, from an address.
func dialResolver(address, source string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(unverified())), grpc.WithContextDialer(dialFrom(source)))
}

// resolver is a client of a replica's, from an address of the tenant's.
func (t *Tenant) resolver(replica int, source string) (resolverv1.ResolverClient, error) {
	connection, err := dialResolver(t.s.ResolverAddresses[replica], source)
	if err != nil {
		return nil, err
	}
	t.onStop(func() { _ = connection.Close() })
	return resolverv1.NewResolverClient(connection), nil
}

// withBearer is a call with a token, that has as long as a node plugin's.
func withBearer(ctx context.Context, token string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	return metadata.AppendToOutgoingContext(ctx, resolverv1.AuthorizationKey, "Bearer "+token), cancel
}

// inventedToken has the form and all the claims of a token of a service account, and a signature that is nobody's.
func inventedToken(audience, account string, number int64) string {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"aud":[%q],"exp":%d,"iss":"https://kubernetes.default.svc.cluster.local",`+
		`"sub":"system:serviceaccount:%s","jti":"%d"}`, audience, time.Now().Add(time.Hour).Unix(), account, number)
	return part([]byte(`{"alg":"RS256","kid":"x"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
}

// inventTokens has 64 callers at a time say that they are a node plugin, from so many addresses. The proof is that they
// are refused, and that few of them cost a TokenReview.
func (t *Tenant) inventTokens(sources int) (Proof, error) {
	const callers = 64
	var sent, refused atomic.Int64
	body := &resolverv1.ResolveRequest{PodToken: strings.Repeat("x", 100_000), VolumeId: "x"}
	reviews := func() int { return t.s.reviews(t.ctx) }
	before := reviews()
	connections := max(8, sources)
	for i := range connections {
		resolver, err := t.resolver(i%replicas, podAddress(i%sources))
		if err != nil {
			return nil, err
		}
		for range callers / connections {
			t.loop(func(ctx context.Context, _ int) {
				token := inventedToken(v1alpha1.AudienceNode, "sallyport-system:sallyport-node", sent.Add(1))
				call, cancel := withBearer(ctx, token)
				defer cancel()
				if _, err := resolver.Resolve(call, body); err != nil {
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

func inventedTokens(t *Tenant) (Proof, error) { return t.inventTokens(1) }

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
	dial := dialFrom(podAddress(0))
	for i := range heavier(1000, 4000) {
		t.loops.Go(func() {
			for t.ctx.Err() == nil {
				connection, err := dial(t.ctx, t.s.ResolverAddresses[i%replicas])
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

const (
	// slowPods is where the addresses of slow callers begin, which others do not have.
	slowPods = 1000
	// perAddress is how many connections a hostile pod holds: as many as the resolver gives one address.
	perAddress = 16
	// dripPause is what lies between two bytes of a slow caller.
	dripPause = 300 * time.Millisecond
)

// slowSpeech is what a slow caller says at once, and then a byte at a time: followed by zeros, none of it ever ends.
type slowSpeech struct {
	encrypted   bool
	first, drip string
}

// What a caller says first: the handshake of TLS, the preface of HTTP/2 with the settings, and headers of 16 KiB (RFC
// 8446, section 5.1; RFC 9113, sections 3.4 and 4.1).
const (
	hello   = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	headers = "\x00\x3f\xff\x01\x04\x00\x00\x00\x01"
)

var slowSpeeches = []slowSpeech{
	{drip: hello},
	{encrypted: true, drip: preface},
	{encrypted: true, first: preface, drip: headers},
	{encrypted: true, first: preface + headers + strings.Repeat("\x00", 16_000)},
}

// gauge is how many there are now, and the most that there ever were.
type gauge struct {
	mu        sync.Mutex
	now, most int
}

func (g *gauge) add(number int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += number
	g.most = max(g.most, g.now)
}

func (g *gauge) highest() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most
}

// speak connects and says it until the other side has enough.
func (s *slowSpeech) speak(ctx context.Context, source, address string, held *gauge) error {
	plain, err := dialFrom(source)(ctx, address)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = plain.Close() })
	defer stop()
	connection := plain
	if s.encrypted {
		encrypted := tls.Client(plain, unverified())
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return err
		}
		connection = encrypted
	}
	if _, err := connection.Write([]byte(s.first)); err != nil {
		return err
	}
	holds := false
	defer func() {
		if holds {
			held.add(-1)
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		next := byte(0)
		if i < len(s.drip) {
			next = s.drip[i]
		}
		if _, err := connection.Write([]byte{next}); err != nil {
			return err
		}
		if i == 3 { // one that was closed is noticed by the second byte after that
			held.add(1)
			holds = true
		}
		sleep(ctx, dripPause)
	}
	return ctx.Err()
}

// slowCallers hold as many connections as their addresses are given, more than all unknown callers have together, while
// others ask with invented tokens, from other addresses. A node that comes meanwhile has to get in.
func slowCallers(t *Tenant) (Proof, error) {
	pods := heavier(80, 250)
	held := &gauge{}
	for i := range pods * perAddress {
		speech := &slowSpeeches[i%len(slowSpeeches)]
		t.loop(func(ctx context.Context, _ int) {
			_ = speech.speak(ctx, podAddress(slowPods+i/perAddress), t.s.ResolverAddresses[i/perAddress%replicas], held)
			sleep(ctx, time.Second)
		})
	}
	tokens, err := t.inventTokens(32)
	if err != nil {
		return nil, err
	}
	node, err := t.newcomer()
	return both(atLeast(600, "slow callers at a time", held.highest), both(tokens, node)), err
}

// newcomer has a node come again and again, each time over a connection that nobody knows yet. The proof is that it is
// always let in.
func (t *Tenant) newcomer() (Proof, error) {
	st, _, err := t.steal()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var took []time.Duration
	var failures []error
	come := func(ctx context.Context, replica int) error {
		connection, err := dialResolver(t.s.ResolverAddresses[replica], podAddress(2*slowPods))
		if err != nil {
			return err
		}
		defer func() { _ = connection.Close() }()
		call, cancel := withBearer(ctx, st.token)
		defer cancel()
		_, err = resolverv1.NewResolverClient(connection).Resolve(call, &resolverv1.ResolveRequest{})
		if f := resolverv1.DecodeFault(err); f == nil || f.Message() != "the pod's token is missing" {
			return fmt.Errorf("a node that comes meanwhile is not let in: %w", err)
		}
		return nil
	}
	t.loop(func(ctx context.Context, turn int) {
		begun := time.Now()
		err := come(ctx, turn%replicas)
		mu.Lock()
		if err == nil {
			took = append(took, time.Since(begun))
		} else if ctx.Err() == nil {
			failures = append(failures, err)
		}
		mu.Unlock()
		sleep(ctx, pause)
	})
	return func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(took) < 5 {
			failures = append(failures, fmt.Errorf("a node that comes meanwhile was let in %d times", len(took)))
			return "", errors.Join(failures...)
		}
		return fmt.Sprintf("a node came %d times, in %s at most", len(took), slices.Max(took)), errors.Join(failures...)
	}, nil
}
