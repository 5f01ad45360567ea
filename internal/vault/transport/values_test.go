package transport

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/pipes"
)

// connTo is a Conn to a server that answers with JSON.
func connTo(t *testing.T, answer http.HandlerFunc) *Conn {
	t.Helper()
	server, listener := pipes.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	pool := NewPool(time.Second, clock.RealClock{}, networks.Within(listener.Dial), nil)
	way, err := pool.Get(Config{Address: server.URL})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return pool.NewConn(way, Settings{Timeout: 20 * time.Second, Limiter: NewRequestLimiter(nil)})
}

func TestAResponseOfTooManyValuesIsRefused(t *testing.T) {
	g := NewWithT(t)
	body := func(value string) []byte { return []byte(`{"request_id":"1","data":{"z":` + value + `}}`) }
	responses := map[string][]byte{
		"/v1/objects": body(`[` + strings.Repeat("{},", 1<<20) + `0]`),
		"/v1/numbers": body(`[` + strings.Repeat("0,", 1<<20) + `0]`),
		"/v1/deep":    body(strings.Repeat(`[`, 1<<20) + strings.Repeat(`]`, 1<<20)),
		"/v1/text":    body(`"` + strings.Repeat("x", 3<<20) + `"`),
		"/v1/small":   body(`[{}]`),
	}
	conn := connTo(t, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(responses[r.URL.Path]) })
	for _, path := range []string{"objects", "numbers", "deep"} {
		_, err := conn.Call(t.Context(), Request{Method: http.MethodGet, Path: path, Actor: "us"})
		g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue(), "%s: %v", path, err)
		g.Expect(err).To(MatchError(ContainSubstring("keep fewer values in one secret")))
	}
	for _, path := range []string{"text", "small"} {
		_, err := conn.Call(t.Context(), Request{Method: http.MethodGet, Path: path, Actor: "us"})
		g.Expect(err).NotTo(HaveOccurred(), path)
	}
}

func TestASmallResponseThatGrowsWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		growing := `{"request_id":"1","data":{"z":[` + strings.Repeat("{},", 20_000) + `0]}}`
		conn := connTo(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/growing" {
				_, _ = w.Write([]byte(growing))
				return
			}
			_, _ = w.Write([]byte(`{"request_id":"1","data":{"a":"b"}}`))
		})
		call := func(path string) error {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := conn.Call(ctx, Request{Method: http.MethodGet, Path: path, Actor: "us"})
			return err
		}
		g.Expect(len(growing)).To(BeNumerically("<", smallBody))
		g.Expect(call("growing")).To(Succeed())
		leave, err := conn.transport.decoding.Enter(t.Context(), conn.subject.Namespace, heap.DecodingShare)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(call("growing")).NotTo(Succeed())
		g.Expect(call("small")).To(Succeed())
		leave()
		g.Expect(call("growing")).To(Succeed())
	})
}

func TestALargeBodyThatTricklesGivesUpItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		conn := connTo(t, func(w http.ResponseWriter, r *http.Request) {
			for r.URL.Path == "/v1/x" && r.Context().Err() == nil { // sys/health is asked meanwhile
				_, _ = w.Write([]byte(strings.Repeat(" ", smallBody)))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(100 * time.Millisecond)
			}
		})
		began := time.Now()
		_, err := conn.Call(t.Context(), Request{Method: http.MethodGet, Path: "x", Actor: "us"})
		g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
		g.Expect(time.Since(began)).To(Equal(bodyTime))
		g.Expect(conn.transport.decoding.Inside(conn.subject.Namespace)).To(BeZero())
	})
}
