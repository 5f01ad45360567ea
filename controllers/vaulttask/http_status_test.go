package vaulttask

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

// TestWhichStatusesOfVaultEndATask holds every status that Vault documents, and those that front ends answer in its
// place, against what it means to a write: refused for good, not done and to be tried again, or done perhaps.
func TestWhichStatusesOfVaultEndATask(t *testing.T) {
	const ends, again, unknown = "ends", "again", "unknown"
	task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db")
	for _, test := range []struct {
		status        int
		body, outcome string
	}{
		{http.StatusBadRequest, "invalid", ends},
		{http.StatusBadRequest, "Upgrading from non-versioned to versioned data. This backend will be unavailable", again},
		{http.StatusBadRequest, "Waiting for the primary to upgrade from non-versioned to versioned data for this mount", again},
		{http.StatusUnauthorized, "", ends},
		{http.StatusForbidden, "permission denied", ends},
		{http.StatusNotFound, "", ends},
		{http.StatusMethodNotAllowed, "unsupported operation", ends},
		{http.StatusRequestTimeout, "", unknown},
		{http.StatusPreconditionFailed, "required index state not present", again},
		{http.StatusRequestEntityTooLarge, "request body too large", ends},
		{http.StatusTooEarly, "", unknown},
		{http.StatusTooManyRequests, "request path: rate limit quota exceeded", again},
		{472, "", again},
		{473, "", again},
		{http.StatusInternalServerError, "", unknown},
		{http.StatusNotImplemented, "", unknown},
		{http.StatusBadGateway, "", unknown},
		{http.StatusServiceUnavailable, "", unknown},
		{http.StatusGatewayTimeout, "", unknown},
	} {
		t.Run(fmt.Sprintf("%d %s", test.status, test.body), func(t *testing.T) {
			g := NewWithT(t)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				_, _ = fmt.Fprintf(w, `{"errors":[%q]}`, test.body)
			}))
			defer server.Close()
			pool := transport.NewPool(time.Second, clock.RealClock{}, nil)
			way, err := pool.Get(transport.Config{Origin: server.URL})
			g.Expect(err).NotTo(HaveOccurred())
			conn := pool.NewConn(way, transport.Settings{Timeout: 300 * time.Millisecond})
			_, err = conn.Call(t.Context(), transport.Request{Method: http.MethodPost, Path: "secret/data/db", Actor: "us"})
			g.Expect(err).To(HaveOccurred())

			waits := (&attempt{called: true, task: task}).classify(err)
			switch test.outcome {
			case ends:
				g.Expect(waits).To(BeNil(), "%v", err)
			case again:
				g.Expect(waits).NotTo(BeNil(), "%v", err)
				g.Expect(waits.Class).To(Equal(fault.ClassTransient), "%v", err)
				g.Expect(waits.OutcomeUnknown).To(BeFalse(), "Vault did nothing")
			case unknown:
				g.Expect(waits).NotTo(BeNil(), "%v", err)
				g.Expect(waits.OutcomeUnknown).To(BeTrue(), "%v", err)
			}
		})
	}
}
