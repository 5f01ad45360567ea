package transport

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/transport/breaker"
)

func TestBodiesThatWaitForTheirTurnAreNotBuffered(t *testing.T) {
	g := NewWithT(t)
	var sent atomic.Int64
	chunk := []byte(strings.Repeat(" ", 16<<10))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range maxResponse/len(chunk) - 1 { // never the last one
			n, err := w.Write(chunk)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	trust, problem := newTrust(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	g.Expect(problem).To(BeEmpty())
	pool := NewPool(time.Second, clock.RealClock{}, nil, nil)
	way, err := pool.Get(Config{Address: server.URL, Trust: trust})
	g.Expect(err).NotTo(HaveOccurred())
	conn := pool.NewConn(way, Settings{Timeout: 20 * time.Second, Subject: fault.Subject{Namespace: "shop"}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	const requests = 64
	for range requests {
		running.Go(func() { _, _ = conn.Call(ctx, Request{Method: http.MethodGet, Path: "x", Actor: "us"}) })
	}
	time.Sleep(2 * time.Second)
	// What is read by those whose turn it is, and of each of the others what the bound and the server's own buffers take.
	g.Expect(sent.Load()).To(BeNumerically("<", 4*maxResponse+requests*(4*maxUnread)))
	cancel()
	running.Wait()
}

func TestRequestsWithoutAnAnswerCloseNobodysConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server := newFront(t)
		server.hang(func(r *http.Request) bool { return r.URL.Path == "/v1/slow" })
		pool := NewPool(5*time.Second, clock.RealClock{}, server.network, nil)
		victim, other := server.conn(t, pool, "", 6*time.Second), server.conn(t, pool, "", 500*time.Millisecond)
		var running sync.WaitGroup
		for range 20 {
			running.Go(func() { _, _ = call(t, other, http.MethodGet, "slow") })
			time.Sleep(30 * time.Millisecond)
		}
		victim.transport.connections.renew() // as every five minutes; the requests that hang are on other ones now
		made := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if !i.Reused {
				made++
			}
		}})
		for range 20 {
			_, err := victim.Call(ctx, Request{Method: http.MethodGet, Path: "secret/data/a", Actor: "us"})
			g.Expect(err).NotTo(HaveOccurred())
			time.Sleep(30 * time.Millisecond)
		}
		running.Wait()
		g.Expect(made).To(BeNumerically("<=", 2))
	})
}

func TestWritesTakeNobodysTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server := newFront(t)
		clk := clocktesting.NewFakePassiveClock(time.Now())
		pool := NewPool(time.Second, clk, server.network, nil)
		writer, reader := server.conn(t, pool, "", time.Second), server.conn(t, pool, "", time.Second)
		server.hangAll()
		_, _ = reader.Health(t.Context(), "us")
		g.Expect(reader.transport.breaker.Open()).To(BeTrue())

		server.hang(func(r *http.Request) bool { return r.URL.Path == "/v1/sys/health" }) // something drops that
		clk.SetTime(clk.Now().Add(breaker.TryEvery + time.Millisecond))
		_, err := call(t, writer, http.MethodPost, "secret/data/a")
		g.Expect(err).To(HaveOccurred(), "it is not risked")
		_, err = call(t, reader, http.MethodGet, "secret/data/a")
		g.Expect(err).NotTo(HaveOccurred())
	})
}

func TestAQuotaOfOnePathDelaysNoRenewal(t *testing.T) {
	g := NewWithT(t)
	conn := connTo(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/limited" {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"errors":["request path limited: rate limit quota exceeded"]}`))
			return
		}
		_, _ = w.Write([]byte(`{"request_id":"1","auth":{"client_token":"t","lease_duration":60}}`))
	})
	conn.limiter = NewRequestLimiter(nil)
	_, err := conn.Call(t.Context(), Request{Method: http.MethodGet, Path: "limited", Actor: "us"})
	g.Expect(err).To(HaveOccurred())
	_, err = conn.Call(t.Context(), Request{Method: http.MethodGet, Path: "other", Actor: "us"})
	g.Expect(err).To(MatchError(ContainSubstring("Vault wants no request for")))
	_, err = conn.Call(t.Context(), Request{Method: http.MethodPost, Path: "auth/token/renew-self", Actor: "us"})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestAPoolApartSharesTheMemoryForDecoding(t *testing.T) {
	g := NewWithT(t)
	pool := NewPool(time.Second, clock.RealClock{}, nil, nil)
	g.Expect(pool.Apart().decoding).To(BeIdenticalTo(pool.decoding))
}

func TestALargeResponseThatFindsNoTurnSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		conn := connTo(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"request_id":"1","data":{"a":"` + strings.Repeat("x", 2*smallBody) + `"}}`))
		})
		conn.subject.Namespace = "shop"
		leave, entered := conn.transport.decoding.TryEnter("shop", heap.DecodingShare)
		g.Expect(entered).To(BeTrue())
		conn.timeout = 100 * time.Millisecond
		_, err := conn.Call(t.Context(), Request{Method: http.MethodPost, Path: "secret/data/a", Actor: "us"})
		g.Expect(fault.Is(err, v1alpha1.ReasonRateLimited)).To(BeTrue(), "%v", err)
		g.Expect(fault.OutcomeUnknown(err)).To(BeTrue())
		g.Expect(fault.From(err).Message()).To(And(ContainSubstring("namespace shop"), ContainSubstring("this passes")))
		leave()
		conn.timeout = time.Second
		_, err = conn.Call(t.Context(), Request{Method: http.MethodGet, Path: "secret/data/a", Actor: "us"})
		g.Expect(err).NotTo(HaveOccurred())
	})
}

func TestAPanicOfALookAtHealthIsNotTheEndOfTheProcess(t *testing.T) {
	g := NewWithT(t)
	var cache healthCache
	result, err := cache.get(t.Context(), clock.RealClock{}, time.Time{}, func(context.Context) *healthResult { panic("of a decoder") })
	g.Expect(result).To(BeNil())
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
}
