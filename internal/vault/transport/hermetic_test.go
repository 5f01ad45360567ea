package transport

import (
	"net/http"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAResponseThatIsNoSuccessTakesLittle(t *testing.T) {
	g := NewWithT(t)
	body := []byte(`{"errors":[` + strings.Repeat(`"",`, 1<<20) + `""]}`)
	conn := connTo(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(body)
	})

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := conn.Call(t.Context(), Request{Method: http.MethodGet, Path: "secret/data/a", Actor: "us"})
	runtime.ReadMemStats(&after)
	g.Expect(fault.Is(err, v1alpha1.ReasonVaultUnreachable)).To(BeTrue(), "%v", err)
	took := after.TotalAlloc - before.TotalAlloc
	t.Logf("took %d", took)
	g.Expect(took).To(BeNumerically("<", 8<<20))
}
