package transport

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// connTo is a Conn to a server that answers with JSON.
func connTo(t *testing.T, answer http.HandlerFunc) *Conn {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	pool := NewPool(time.Second, clock.RealClock{}, nil)
	way, err := pool.Get(Config{Origin: server.URL})
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
