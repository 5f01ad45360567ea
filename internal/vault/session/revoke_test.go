package session

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/vault/transport"
)

func TestAVaultThatHangsHoldsUpNoOthersTokens(t *testing.T) {
	g := NewWithT(t)
	left := make(chan struct{})
	var hung, revoked atomic.Int32
	serve := func(handle http.HandlerFunc) *transport.Transport {
		server := httptest.NewServer(handle)
		t.Cleanup(server.Close)
		way, err := transport.NewPool(time.Second, clock.RealClock{}, nil, nil).Get(transport.Config{Address: server.URL})
		g.Expect(err).NotTo(HaveOccurred())
		return way
	}
	hanging := serve(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hung.Add(1)
		<-left
	})
	t.Cleanup(func() { close(left) })
	// What answers 204 to everything is no Vault, but all that a revocation sees of one.
	answering := serve(func(w http.ResponseWriter, _ *http.Request) {
		revoked.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	pool := transport.NewPool(time.Second, clock.RealClock{}, nil, nil)
	conn := func(way *transport.Transport) *transport.Conn {
		return pool.NewConn(way, transport.Settings{Timeout: time.Minute, Limiter: transport.NewRequestLimiter(nil)})
	}
	q := &revocationQueue{}
	for tenant := range maxRevokers/maxRevokersOfNamespace - 1 {
		for range 5 * maxRevokersOfNamespace {
			q.add(revocation{conn: conn(hanging), owner: fmt.Sprint("hostile-", tenant), token: transport.NewToken("t")})
		}
	}
	g.Eventually(hung.Load).Should(BeEquivalentTo(maxRevokers - maxRevokersOfNamespace))
	good := conn(answering)
	for range 50 {
		q.add(revocation{conn: good, owner: "victim", token: transport.NewToken("t")})
	}
	g.Eventually(revoked.Load).Should(BeEquivalentTo(50))
	g.Expect(hung.Load()).To(BeEquivalentTo(maxRevokers - maxRevokersOfNamespace))
	g.Expect(q.idle()).To(BeFalse())
}
