package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/pipes"
)

// nodeToken is the token of the node plugin of a node.
func nodeToken(node string) string {
	return unsigned(fmt.Sprintf(`{"aud":["sallyport.dev/node"],"sub":"system:serviceaccount:sallyport-system:sallyport-node",`+
		`"exp":99999999999,"kubernetes.io":{"namespace":"sallyport-system","pod":{"name":%q}}}`, node))
}

func with(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, resolverv1.AuthorizationKey, "Bearer "+token)
}

// ask makes a request that a known node gets a definite response to: the pod's token is missing.
func ask(ctx context.Context, connection *grpc.ClientConn, token string) error {
	_, err := resolverv1.NewResolverClient(connection).Resolve(with(ctx, token), &resolverv1.ResolveRequest{})
	if f := resolverv1.DecodeFault(err); f == nil || f.Message() != "the pod's token is missing" {
		return fmt.Errorf("not served: %w", err)
	}
	return nil
}

// headers is the beginning of a connection of HTTP/2, and of a request whose headers have 200 bytes (RFC 9113, sections
// 3.4 and 4.1).
const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	headers = "\x00\x00\xc8\x01\x04\x00\x00\x00\x01"
)

func TestConnectionsWithoutAKnownCallerEnd(t *testing.T) {
	const life = time.Second
	for name, say := range map[string]func(net.Conn) error{
		"nothing": func(net.Conn) error { return nil },
		"a handshake of TLS, a byte at a time": func(c net.Conn) error {
			return drip(reading(c), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		},
		"TLS, and then nothing": func(c net.Conn) error { return tls.Client(c, insecure()).Handshake() },
		"the preface of HTTP/2, a byte at a time": func(c net.Conn) error {
			return drip(reading(tls.Client(c, insecure())), preface)
		},
		"headers, a byte at a time": func(c net.Conn) error {
			connection := reading(tls.Client(c, insecure()))
			if _, err := connection.Write([]byte(preface)); err != nil {
				return err
			}
			return drip(connection, headers)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				l := serveWithin(t, &cluster{refuses: true}, life)
				begun := time.Now()
				connection, err := l.Dial(t.Context(), "tcp", l.Addr().String())
				g.Expect(err).NotTo(HaveOccurred())
				defer func() { _ = connection.Close() }()
				g.Expect(connection.SetDeadline(begun.Add(10 * life))).To(Succeed())
				if err = say(connection); err == nil {
					_, err = io.Copy(io.Discard, connection)
				}
				g.Expect(time.Since(begun)).To(BeNumerically("~", life+dripPause/2, dripPause/2), "in its time: %v", err)
			})
		})
	}
}

func TestTheOldestOfWhoHasTheMostGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		l := listenTo(t, func(l *limitedListener) { l.maxUnknown = 6 })
		var greedy, others []net.Conn
		for i := range 4 {
			greedy = append(greedy, connectFrom(t, l, "127.0.3.1"))
			if i < 2 {
				others = append(others, connectFrom(t, l, fmt.Sprintf("127.0.3.%d", 2+i)))
			}
		}
		g.Expect(isOpen(greedy[0])).To(BeTrue(), "there is room for six")
		newcomer := connectFrom(t, l, "127.0.3.9")
		g.Expect(isOpen(greedy[0])).To(BeFalse())
		for _, connection := range append(append(greedy[1:], others...), newcomer) {
			g.Expect(isOpen(connection)).To(BeTrue())
		}

		// A known caller is none of them.
		l.known(newcomer.LocalAddr().String())
		last := connectFrom(t, l, "127.0.3.10")
		g.Expect(isOpen(greedy[1]) && isOpen(last)).To(BeTrue())
	})
}

func TestANewcomerIsRefusedWhereNobodyTookTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		l := listenTo(t, func(l *limitedListener) { l.maxUnknown = 2 })
		first, second := connectFrom(t, l, "127.0.3.1"), connectFrom(t, l, "127.0.3.2")
		g.Expect(isOpen(connectFrom(t, l, "127.0.3.3"))).To(BeFalse(), "nodes that come together")
		g.Expect(isOpen(first) && isOpen(second)).To(BeTrue())
		time.Sleep(unhurried)
		g.Expect(isOpen(connectFrom(t, l, "127.0.3.4"))).To(BeTrue(), "who says nothing for long makes room")
		g.Expect(isOpen(first)).To(BeFalse())
		g.Expect(isOpen(second)).To(BeTrue())
	})
}

// listenTo has a listener within a bubble that accepts whatever it may, and closes what its client closes.
func listenTo(t *testing.T, change func(*limitedListener)) *limitedListener {
	t.Helper()
	l := newLimitedListener(pipes.Listen(), time.Minute)
	change(l)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			connection, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, connection)
				_ = connection.Close()
			}()
		}
	}()
	return l
}

// connectFrom connects, and returns when the listener has decided.
func connectFrom(t *testing.T, l *limitedListener, source string) net.Conn {
	t.Helper()
	connection, err := l.Listener.(*pipes.Listener).From(source)(t.Context(), "tcp", l.Addr().String())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = connection.Close() })
	time.Sleep(time.Millisecond) // so that no two come at the same moment
	return connection
}

// isOpen tells whether the other end has not closed a connection on which nobody says anything.
func isOpen(connection net.Conn) bool {
	_ = connection.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := connection.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// dripPause is between the bytes of drip.
const dripPause = 50 * time.Millisecond

// reading reads what comes, so that nobody waits with it.
func reading(connection net.Conn) net.Conn {
	go func() { _, _ = io.Copy(io.Discard, connection) }()
	return connection
}

// drip writes text and then zeros, a byte at a time, until that fails.
func drip(connection net.Conn, text string) error {
	for i := 0; ; i++ {
		next := byte(0)
		if i < len(text) {
			next = text[i]
		}
		if _, err := connection.Write([]byte{next}); err != nil {
			return err
		}
		time.Sleep(dripPause)
	}
}

func TestARefusedCallersConnectionEndsAndAKnownOnesStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := NewWithT(t), &cluster{}
		const life = 3 * time.Second
		const pause = life / (maxRefusals - 1) * 6 / 5 // fewer are refused than end it
		l := serveWithin(t, c, life)
		known, ofKnown := dialWithin(t, l, "127.0.0.1")
		stranger, ofStranger := dialWithin(t, l, "127.0.0.2")
		before := refusals(t)
		g.Expect(ask(t.Context(), known, nodeToken("node-a"))).To(Succeed())
		begun := time.Now()
		for ofStranger.Load() < 2 {
			g.Expect(ask(t.Context(), stranger, "garbage")).NotTo(Succeed())
			g.Expect(time.Since(begun)).To(BeNumerically("<=", life+pause), "a refused caller's does not stay, whatever it says")
			time.Sleep(pause)
		}
		g.Expect(time.Since(begun)).To(BeNumerically(">=", life))
		g.Expect(ask(t.Context(), known, nodeToken("node-a"))).To(Succeed())
		g.Expect(ofKnown.Load()).To(BeEquivalentTo(1), "a known caller's connection stays")
		g.Expect(refusals(t) - before).To(BeNumerically(">", 1))
	})
}

// refusals is how many callers that are not allowed the metric counts.
func refusals(t *testing.T) float64 {
	t.Helper()
	return counted(t, "sallyport_resolver_refused_callers_total", v1alpha1.ReasonNotAllowed)
}

// serveWithin is serve within a bubble.
func serveWithin(t *testing.T, c *cluster, life time.Duration) *pipes.Listener {
	t.Helper()
	l := pipes.Listen()
	serveOn(t, l, c, life)
	return l
}

// dialWithin is dialFrom within a bubble. It also counts how often it connects.
func dialWithin(t *testing.T, l *pipes.Listener, source string) (*grpc.ClientConn, *atomic.Int32) {
	t.Helper()
	count, dial := &atomic.Int32{}, l.From(source)
	return dialFrom(t, l.Addr().String(), source, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		count.Add(1)
		return dial(ctx, "tcp", address)
	})), count
}

func TestAStolenNodeHasItsShareOfRequests(t *testing.T) {
	for name, method := range map[string]string{
		"of one volume each":  resolverv1.Resolver_Resolve_FullMethodName,
		"of several together": resolverv1.Resolver_ResolveEach_FullMethodName,
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { stealWith(t, method) }) })
	}
}

func stealWith(t *testing.T, method string) {
	t.Helper()
	g := NewWithT(t)
	l := serveWithin(t, &cluster{}, unknownLife)
	// Each call is begun, and its message never comes: over several connections, more than a node may have.
	const connections = 4
	for range connections {
		connection, _ := dialWithin(t, l, "127.0.0.2")
		for range maxRequests {
			_, err := connection.NewStream(with(t.Context(), nodeToken("stolen")), &grpc.StreamDesc{ClientStreams: true}, method)
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	synctest.Wait()
	more, _ := dialWithin(t, l, "127.0.0.2")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	g.Expect(ask(ctx, more, nodeToken("stolen"))).NotTo(Succeed(), "what is over its share waits")
	begun := time.Now()
	other, _ := dialWithin(t, l, "127.0.0.1")
	g.Expect(ask(t.Context(), other, nodeToken("node-b"))).To(Succeed())
	g.Expect(time.Since(begun)).To(BeZero())
}

func TestANodeThatIsRefusedOftenWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		a := authorizerOf(&cluster{})
		refused := func(node string) time.Duration {
			begun := time.Now()
			_, err := a.Authorize(from(t, "10.0.0.9"), nodeToken(node), &resolverv1.ResolveRequest{})
			g.Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%v", err)
			return time.Since(begun)
		}
		for range refusalsBurst {
			g.Expect(refused("stolen")).To(BeZero())
		}
		g.Expect(refused("stolen")).To(Equal(refusalTime))
		g.Expect(refused("node-b")).To(BeZero(), "another node does not")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		for range 2 * refusalsBurst {
			a.limits.refused(ctx, "gone")
		}
		g.Expect(time.Since(begun)).To(BeZero(), "nobody waits for who has gone")
	})
}

func TestASourceConnectsNoFasterThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		l := listenTo(t, func(*limitedListener) {})
		opened := func() (opened int) {
			for range 2 * maxConnectionsPerSource {
				connection := connectFrom(t, l, "127.0.3.1")
				if isOpen(connection) {
					opened++
				}
				g.Expect(connection.Close()).To(Succeed())
			}
			return opened
		}
		g.Expect(opened()).To(Equal(maxConnectionsPerSource))
		time.Sleep(time.Second)
		g.Expect(opened()).To(Equal(newPerSecond))
		last := connectFrom(t, l, "127.0.3.2")
		g.Expect(isOpen(last)).To(BeTrue(), "another source")
		for i := range 2 * maxConnectionsPerSource {
			l.known(last.LocalAddr().String())
			g.Expect(last.Close()).To(Succeed())
			last = connectFrom(t, l, "127.0.3.2")
			g.Expect(isOpen(last)).To(BeTrue(), "a node that is known, connection %d", i)
		}
	})
}

func TestAConnectionEndsWhereManyAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		stranger, dials := dialWithin(t, serveWithin(t, &cluster{}, time.Hour), "127.0.0.2")
		for range maxRefusals {
			g.Expect(ask(t.Context(), stranger, "garbage")).NotTo(Succeed())
			g.Expect(dials.Load()).To(BeEquivalentTo(1))
		}
		time.Sleep(time.Second) // until the client has heard
		g.Expect(ask(t.Context(), stranger, "garbage")).NotTo(Succeed())
		g.Expect(dials.Load()).To(BeEquivalentTo(2))
	})
}

// What a good node asks is answered while others send garbage, from one source and from many: each time, within what is
// an outage for it.
func TestAFloodOfGarbageStopsNobody(t *testing.T) {
	g, c := NewWithT(t), &cluster{}
	address := serve(t, c, unknownLife)
	good := dialFrom(t, address, "127.0.0.1")
	g.Expect(ask(t.Context(), good, nodeToken("node-a"))).To(Succeed())

	const garbage = 3000
	var sent, answered atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		connection := dialFrom(t, address, fmt.Sprintf("127.0.1.%d", i%4))
		for range 8 {
			all.Go(func() {
				for id := sent.Add(1); id <= garbage; id = sent.Add(1) {
					token := "garbage"
					if id%2 == 0 {
						token = pluginToken(int(id)) // forged, but for the signature as it has to be
					}
					_ = ask(t.Context(), connection, token)
					answered.Add(1)
				}
			})
		}
	}
	asked := 0
	for answered.Load() < garbage {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second) // as a node plugin's client
		g.Expect(ask(ctx, good, nodeToken("node-a"))).To(Succeed(), "after %d of %d", answered.Load(), garbage)
		cancel()
		asked++
		time.Sleep(time.Millisecond)
	}
	all.Wait()
	t.Logf("%d requests of the good node during %d of garbage", asked, garbage)
}
