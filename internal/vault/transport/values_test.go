package transport

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestTheSizeOfABodyIsWhatItTakesOfTheHeap(t *testing.T) {
	for name, part := range map[string]string{
		"empty objects": `{},`, "empty lists": `[],`, "numbers": `1,`, "short strings": `"x",`, "nulls": "null,",
		"long strings": `"` + strings.Repeat("x", 100) + `",`, "objects": `{"a":1},`, "lists": `[1],`,
		"larger objects": `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1},`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			body := []byte(`{"z":[` + strings.Repeat(part, 10_000) + `0]}`)
			before := heapInUse()
			decoder := json.NewDecoder(strings.NewReader(string(body)))
			decoder.UseNumber()
			var decoded map[string]any
			g.Expect(decoder.Decode(&decoded)).To(Succeed())
			took, size := heapInUse()-before, heapSize(body, 1<<40)
			t.Logf("%s: took %d, said %d", name, took, size)
			g.Expect(took).To(BeNumerically("<", size*5/4+int64(len(body))))
			g.Expect(heapSize(body, 1000)).To(BeNumerically("~", 1000, 1000), "it ends when it is sure")
			runtime.KeepAlive(decoded)
			runtime.KeepAlive(body)
		})
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

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
