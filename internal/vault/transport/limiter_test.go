package transport

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/pipes"
)

func TestRequestLimiter(t *testing.T) {
	read := Request{Method: http.MethodGet, Path: "secret/data/db", Actor: "VaultConfig shop/prod, auth token"}
	renewal := Request{Method: http.MethodPost, Path: "auth/token/renew-self", Actor: "VaultConfig shop/prod, auth token"}
	one := int32(1)
	limited := func() *RequestLimiter { return NewRequestLimiter(&v1alpha1.VaultLimits{RequestsPerSecond: &one}) }
	expired := func(t *testing.T) context.Context {
		t.Helper()
		ctx, cancel := context.WithDeadline(t.Context(), time.Now())
		t.Cleanup(cancel)
		return ctx
	}
	run := func(name string, test func(t *testing.T)) {
		t.Helper()
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}

	run("sets no bound of its own", func(t *testing.T) {
		t.Helper()
		g := NewWithT(t)
		for _, l := range []*RequestLimiter{nil, NewRequestLimiter(nil), NewRequestLimiter(&v1alpha1.VaultLimits{})} {
			for range 1000 {
				g.Expect(l.wait(expired(t), time.Second, read)).To(Succeed())
			}
		}
	})
	run("lets a burst through at once", func(t *testing.T) {
		t.Helper()
		g := NewWithT(t)
		burst := int32(3)
		l := NewRequestLimiter(&v1alpha1.VaultLimits{RequestsPerSecond: &one, Burst: &burst})
		for range 3 {
			g.Expect(l.wait(expired(t), time.Second, read)).To(Succeed())
		}
		g.Expect(l.wait(expired(t), time.Second, read)).NotTo(Succeed())
	})
	run("refuses what would wait longer than its time-out, and does not count it", func(t *testing.T) {
		t.Helper()
		g := NewWithT(t)
		l := limited()
		g.Expect(l.wait(t.Context(), time.Second, read)).To(Succeed())
		for range 3 {
			g.Expect(l.wait(t.Context(), 100*time.Millisecond, read)).To(Equal(fault.Transient(v1alpha1.ReasonRateLimited,
				"GET secret/data/db → not sent: its turn comes only in 1s, for more is asked of Vault than spec.limits allows, "+
					"1 requests a second (VaultConfig shop/prod, auth token)").WithRemedy("raise spec.limits.requestsPerSecond")))
		}
		started := time.Now()
		g.Expect(l.wait(t.Context(), 5*time.Second, read)).To(Succeed())
		g.Expect(time.Since(started)).To(BeNumerically("~", time.Second, time.Millisecond))
	})
	run("does not let a token die", func(t *testing.T) {
		t.Helper()
		g := NewWithT(t)
		l := limited()
		g.Expect(l.wait(expired(t), 0, read)).To(Succeed())
		g.Expect(l.wait(expired(t), 0, renewal)).To(Succeed())
	})
	run("ends its wait with the caller", func(t *testing.T) {
		t.Helper()
		g := NewWithT(t)
		l := limited()
		g.Expect(l.wait(t.Context(), time.Second, read)).To(Succeed())
		leaving, leave := context.WithCancel(t.Context())
		leave()
		g.Expect(fault.Is(l.wait(leaving, 5*time.Second, read), v1alpha1.ReasonInternal)).To(BeTrue())
	})
	run("keeps the time that Vault names", func(t *testing.T) {
		t.Helper()
		g := NewWithT(t)
		l := NewRequestLimiter(nil)
		l.pauseFor("", 20*time.Second)
		l.pauseFor("", time.Second) // does not shorten it
		g.Expect(l.wait(t.Context(), 10*time.Second, read)).To(Equal(fault.Transient(v1alpha1.ReasonRateLimited,
			"GET secret/data/db → not sent: a quota in Vault is used up, and Vault wants no request for 20s (VaultConfig shop/prod, auth token)").WithRemedy("raise the quota")))
	})
}

// TestWhoUsesAVaultConfigWithOthersHasATurn: one namespace asks all the time for more than spec.limits allows.
func TestWhoUsesAVaultConfigWithOthersHasATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ten := int32(10)
		l := NewRequestLimiter(&v1alpha1.VaultLimits{RequestsPerSecond: &ten})
		read := Request{Method: http.MethodGet, Path: "secret/data/db", Actor: "us"}
		greedy, stop := context.WithCancel(OnBehalfOf(t.Context(), "greedy"))
		var sent, refused atomic.Int32
		var running sync.WaitGroup
		for range 500 {
			running.Go(func() {
				for greedy.Err() == nil {
					if l.wait(greedy, 10*time.Second, read) == nil {
						sent.Add(1)
					} else {
						refused.Add(1)
						time.Sleep(time.Second)
					}
				}
			})
		}
		time.Sleep(5 * time.Second)
		g.Expect(refused.Load()).To(BeNumerically(">", 100), "what would wait too long is told at once")
		for range 20 {
			began := time.Now()
			g.Expect(l.wait(OnBehalfOf(t.Context(), "victim"), 10*time.Second, read)).To(Succeed())
			g.Expect(time.Since(began)).To(BeNumerically("<", 250*time.Millisecond), "each second turn is its own")
		}
		expired, cancel := context.WithTimeout(OnBehalfOf(t.Context(), "victim"), time.Millisecond)
		defer cancel()
		g.Expect(l.wait(expired, 10*time.Second, read)).NotTo(Succeed())
		g.Expect(sent.Load()).To(BeNumerically("~", 10+10*7-20, 30), "the rate is what it was")
		stop()
		running.Wait()
		g.Expect(l.waiting).To(BeEmpty())
		g.Expect(l.turns).To(BeEmpty())
	})
}

func TestARefusalOfOneNamespacesRequestPausesNoOther(t *testing.T) {
	g := NewWithT(t)
	conn := connTo(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/limited" {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{"errors":["request path limited: rate limit quota exceeded"]}`))
			return
		}
		_, _ = w.Write([]byte(`{"request_id":"1"}`))
	})
	get := func(namespace, path string) error {
		_, err := conn.Call(OnBehalfOf(t.Context(), namespace), Request{Method: http.MethodGet, Path: path, Actor: "us"})
		return err
	}
	g.Expect(get("greedy", "limited")).To(HaveOccurred())
	g.Expect(get("greedy", "other")).To(MatchError(ContainSubstring("Vault wants no request for")))
	g.Expect(get("victim", "other")).To(Succeed())
	g.Expect(get("", "other")).To(Succeed())
}

// TestAllVaultConfigsOfAReplicaShareItsBound: one namespace's VaultConfig, which sets no limits, asks all the time; that of
// another one, on another way, has every second turn. What connections from a Connection's keys send counts, too.
func TestAllVaultConfigsOfAReplicaShareItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var received atomic.Int32
		server, listener := pipes.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/secret/data/db" {
				received.Add(1)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"request_id":"1"}`))
		}))
		defer server.Close()
		pool := NewPool(time.Second, clock.RealClock{}, networks.Within(listener.Dial), NewReplicaLimiter(10, 10))
		connOf := func(p *Pool, namespace string) *Conn {
			way, err := p.Get(Config{Address: server.URL})
			g.Expect(err).NotTo(HaveOccurred())
			return p.NewConn(way, Settings{Timeout: 10 * time.Second, Limiter: NewRequestLimiter(nil),
				Subject: fault.Subject{Kind: fault.KindVaultConfig, Namespace: namespace, Name: "main"}})
		}
		read := func(ctx context.Context, conn *Conn) error {
			_, err := conn.Call(ctx, Request{Method: http.MethodGet, Path: "secret/data/db", Actor: "us"})
			return err
		}
		greedy, stop := context.WithCancel(t.Context())
		defer stop()
		flood := connOf(pool.Apart(), "greedy")
		var running sync.WaitGroup
		for range 200 {
			running.Go(func() {
				for greedy.Err() == nil {
					if err := read(greedy, flood); err != nil {
						time.Sleep(time.Second)
					}
				}
			})
		}
		time.Sleep(3 * time.Second)
		g.Expect(received.Load()).To(BeNumerically("~", 40, 2), "ten at once and ten a second")
		g.Expect(read(greedy, flood)).To(MatchError(ContainSubstring(
			"more is asked of Vault than one replica may ask, 10 requests a second (us); raise the controller's --vault-requests-per-second")))
		victim := connOf(pool, "victim")
		for range 20 {
			began := time.Now()
			g.Expect(read(t.Context(), victim)).To(Succeed())
			g.Expect(time.Since(began)).To(BeNumerically("<", 250*time.Millisecond), "each second turn is its own")
		}
		stop()
		running.Wait()
	})
}
