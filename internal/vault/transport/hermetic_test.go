package transport

import (
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

func TestAResponseThatIsNoSuccessTakesLittle(t *testing.T) {
	g := NewWithT(t)
	body := []byte(`{"errors":[` + strings.Repeat(`"",`, 1<<20) + `""]}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	pool := NewPool(time.Second, clock.RealClock{}, nil)
	way, err := pool.Get(Config{Origin: server.URL})
	g.Expect(err).NotTo(HaveOccurred())
	conn := pool.NewConn(way, Settings{Timeout: 20 * time.Second, Limiter: NewRequestLimiter(nil)})

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = conn.Call(t.Context(), Request{Method: http.MethodGet, Path: "secret/data/a", Actor: "us"})
	runtime.ReadMemStats(&after)
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
	took := after.TotalAlloc - before.TotalAlloc
	t.Logf("took %d", took)
	g.Expect(took).To(BeNumerically("<", 8<<20))
}
