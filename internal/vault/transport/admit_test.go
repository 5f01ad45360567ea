package transport

import (
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
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
	"sallyport.dev/sallyport/internal/vault/transport/breaker"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/pipes"
)

// front is a server over HTTP/2 that hangs where it is told to, and says what reached it. It is for bubbles: only pools
// that are within its network reach it.
type front struct {
	*httptest.Server
	network *networks.Guard

	hangs  atomic.Pointer[func(*http.Request) bool]
	health atomic.Int32

	mu          sync.Mutex
	seen        map[string]int
	connections map[string]bool
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{seen: map[string]int{}, connections: map[string]bool{}}
	f.hang(func(*http.Request) bool { return false })
	f.health.Store(http.StatusOK)
	var listener *pipes.Listener
	f.Server, listener = pipes.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen[r.URL.Path]++
		f.connections[r.RemoteAddr] = true
		f.mu.Unlock()
		if (*f.hangs.Load())(r) {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/v1/sys/health" {
			w.WriteHeader(int(f.health.Load()))
			_, _ = w.Write([]byte(`{"initialized":true,"version":"1.21.1"}`))
			return
		}
		_, _ = w.Write([]byte(`{"request_id":"1"}`))
	}))
	f.network = networks.Within(listener.Dial)
	f.EnableHTTP2 = true
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func (f *front) hang(where func(*http.Request) bool) { f.hangs.Store(&where) }

func (f *front) hangAll() { f.hang(func(*http.Request) bool { return true }) }

func (f *front) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen["/v1/"+path]
}

func (f *front) connected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.connections)
}

// conn is a way there, over a transport that all have who give the same server name.
func (f *front) conn(t *testing.T, pool *Pool, serverName string, timeout time.Duration) *Conn {
	t.Helper()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}
	trust, wrong := newTrust(string(pem.EncodeToMemory(block)))
	NewWithT(t).Expect(wrong).To(BeEmpty())
	way, err := pool.Get(Config{Address: f.URL, Trust: trust, ServerName: serverName})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return pool.NewConn(way, Settings{Timeout: timeout})
}

// call makes a request, and tells how long it took.
func call(t *testing.T, c *Conn, method, path string) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	_, err := c.Call(t.Context(), Request{Method: method, Path: path, Actor: "us"})
	return time.Since(start), err
}

func TestAFrozenVaultIsAskedByOneRequestNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server := newFront(t)
		clk := clocktesting.NewFakePassiveClock(time.Now())
		step := func(d time.Duration) { clk.SetTime(clk.Now().Add(d)) }
		pool := NewPool(time.Second, clk, server.network, nil)
		conn, other := server.conn(t, pool, "", time.Second), server.conn(t, pool, "example.com", time.Second)
		server.hangAll()
		_, err := conn.Health(t.Context(), "us")
		g.Expect(err).To(HaveOccurred())
		g.Expect(conn.transport.breaker.Open()).To(BeTrue())
		step(time.Millisecond)

		took, err := call(t, conn, http.MethodPost, "secret/data/turn")
		g.Expect(took).To(Equal(turnTime), "it has the turn, and waits for sys/health")
		g.Expect(err).To(HaveOccurred())
		g.Expect(server.count("secret/data/turn")).To(BeZero(), "what has an effect is not risked")
		looks := server.count("sys/health")
		for range 50 {
			took, err = call(t, conn, http.MethodPost, "secret/data/a")
			g.Expect(took).To(BeZero())
			f := fault.From(err)
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonVaultUnreachable))
			g.Expect(f.Class).To(Equal(fault.ClassTransient))
			g.Expect(f.OutcomeUnknown).To(BeFalse())
			g.Expect(f.Message()).To(And(ContainSubstring("POST secret/data/a → not sent: "+server.URL+" has answered nothing since 20"),
				ContainSubstring("asked again every 5s")))
		}
		g.Expect(server.count("secret/data/a")).To(BeZero())
		g.Expect(server.count("sys/health")).To(Equal(looks), "who has no turn has nothing asked")
		_, _ = call(t, conn, http.MethodPost, "auth/token/renew-self")
		_, _ = call(t, conn, http.MethodPost, "sys/leases/renew")
		g.Expect(server.count("auth/token/renew-self")).To(Equal(1), "renewals pass")
		g.Expect(server.count("sys/leases/renew")).To(Equal(1))
		_, _ = call(t, other, http.MethodGet, "secret/data/b")
		g.Expect(server.count("secret/data/b")).To(Equal(1), "another way to the same address has a breaker of its own")

		step(breaker.TryEvery)
		_, _ = call(t, conn, http.MethodGet, "secret/data/turn")
		g.Expect(server.count("secret/data/turn")).To(Equal(1), "one that only looks is sent, and the next one is not")
		_, _ = call(t, conn, http.MethodGet, "secret/data/turn")
		g.Expect(server.count("secret/data/turn")).To(Equal(1))

		server.hang(func(*http.Request) bool { return false })
		step(breaker.TryEvery)
		for range 3 {
			took, err = call(t, conn, http.MethodPost, "secret/data/a")
			g.Expect(err).NotTo(HaveOccurred(), "the first one that comes finds that it is back")
			g.Expect(took).To(BeZero())
		}
	})
}

func TestWhatHangsIsSuspectedAndOnlyAllOfVaultIsGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		hangs  func(*http.Request) bool
		open   bool
		served bool
	}{
		"all of Vault": {func(*http.Request) bool { return true }, true, false},
		"a hostile engine": {func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/hostile/") },
			false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				server := newFront(t)
				server.hang(test.hangs)
				const patience = 4 * time.Second
				pool := NewPool(patience, clock.RealClock{}, server.network, nil)
				hostile, victim := server.conn(t, pool, "", suspectAfter+patience+time.Second), server.conn(t, pool, "", patience)
				g.Expect(hostile.transport).To(BeIdenticalTo(victim.transport))
				var wait sync.WaitGroup
				for range 20 {
					wait.Go(func() { _, _ = call(t, hostile, http.MethodGet, "hostile/a") })
				}
				wait.Wait()
				g.Expect(victim.transport.breaker.Open()).To(Equal(test.open))
				_, err := call(t, victim, http.MethodGet, "secret/data/a")
				g.Expect(err == nil).To(Equal(test.served), "%v", err)
				g.Expect(server.count("sys/health")).To(BeNumerically("<", 5), "they look together")
			})
		})
	}
}

func TestWhoHasNoPatienceOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server := newFront(t)
		server.hang(func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/slow/") })
		pool := NewPool(time.Second, clock.RealClock{}, server.network, nil)
		hasty, victim := server.conn(t, pool, "", 5*time.Millisecond), server.conn(t, pool, "", time.Second)
		for range 100 {
			_, err := call(t, hasty, http.MethodGet, "slow/a")
			g.Expect(err).To(HaveOccurred())
		}
		_, err := call(t, victim, http.MethodGet, "secret/data/a")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(server.count("slow/a")).To(Equal(100), "all of them reached it")
		g.Expect(server.count("sys/health")).To(BeZero())
	})
}

func TestConnectionsAreGivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		passes time.Duration
		renews bool
	}{
		"never where all is well":              {status: http.StatusOK, passes: time.Minute},
		"of a standby":                         {status: http.StatusTooManyRequests, renews: true},
		"of a disaster recovery secondary":     {status: 472, renews: true},
		"of a performance standby":             {status: 473, renews: true},
		"of a node that is not initialized":    {status: http.StatusNotImplemented, renews: true},
		"of a sealed node":                     {status: http.StatusServiceUnavailable, renews: true},
		"that are old, although all were used": {status: http.StatusOK, passes: maxConnectionAge, renews: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				server := newFront(t)
				server.hang(func(r *http.Request) bool { return r.URL.Path == "/v1/busy" })
				clk := clocktesting.NewFakePassiveClock(time.Now())
				conn := server.conn(t, NewPool(time.Second, clk, server.network, nil), "", 4*time.Second)
				go func() { _, _ = call(t, conn, http.MethodGet, "busy") }()
				synctest.Wait()
				g.Expect(server.count("busy")).To(Equal(1))
				_, err := call(t, conn, http.MethodGet, "secret/data/a")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(server.connected()).To(Equal(1), "HTTP/2 needs no other")

				server.health.Store(int32(test.status))
				_, err = conn.Health(t.Context(), "us")
				g.Expect(err).NotTo(HaveOccurred())
				clk.SetTime(clk.Now().Add(test.passes))
				for range 3 {
					_, err = call(t, conn, http.MethodGet, "secret/data/a")
					g.Expect(err).NotTo(HaveOccurred())
				}
				connections := 1
				if test.renews {
					connections = 2
				}
				g.Expect(server.connected()).To(Equal(connections))
			})
		})
	}
}

// TestAConnectionWhoseOtherEndVanishedHidesNoVault: whatever goes over it hangs, sys/health too, and Vault is well.
func TestAConnectionWhoseOtherEndVanishedHidesNoVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server := newFront(t)
		conn := server.conn(t, NewPool(time.Second, clock.RealClock{}, server.network, nil), "", 4*time.Second)
		_, err := call(t, conn, http.MethodGet, "secret/data/a")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(server.connected()).To(Equal(1))
		server.mu.Lock()
		vanished := maps.Clone(server.connections)
		server.mu.Unlock()
		server.hang(func(r *http.Request) bool { return vanished[r.RemoteAddr] })

		_, err = conn.Health(t.Context(), "us")
		g.Expect(err).To(HaveOccurred())
		g.Expect(conn.transport.breaker.Open()).To(BeTrue())
		for range 3 {
			took, err := call(t, conn, http.MethodPost, "secret/data/a")
			g.Expect(err).NotTo(HaveOccurred(), "it goes another way")
			g.Expect(took).To(BeZero())
		}
	})
}
