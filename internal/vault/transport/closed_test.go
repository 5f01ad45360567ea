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
	"sallyport.dev/sallyport/internal/vault/transport/networks"
)

func TestNoConnectionLeadsToAClosedAddress(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	byName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for name, config := range map[string]Config{
		"by its address":                    {Address: server.URL},
		"by a name":                         {Address: byName},
		"by way of a proxy":                 {Address: "https://vault.example.com", Proxy: byName},
		"by way of a proxy that speaks TLS": {Address: "https://vault.example.com", Proxy: strings.Replace(byName, "http:", "https:", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			guard, err := networks.NewGuard(nil, nil)
			g.Expect(err).NotTo(HaveOccurred())
			pool := NewPool(time.Second, clock.RealClock{}, guard, nil)
			config.Trust = publicTrust()
			way, err := pool.Get(config)
			g.Expect(err).NotTo(HaveOccurred())
			conn := pool.NewConn(way, Settings{Timeout: time.Minute, Limiter: NewRequestLimiter(nil)})
			_, err = conn.Call(t.Context(), Request{Method: http.MethodPost, Path: "secret/data/a", Actor: "VaultConfig shop/prod"})
			f := fault.From(err)
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonVaultUnreachable))
			g.Expect(f.Class).To(Equal(fault.ClassWaiting))
			g.Expect(f.OutcomeUnknown).To(BeFalse(), "nothing was sent")
			g.Expect(f.Message()).To(And(ContainSubstring("leads to an address that is closed to the controller"),
				ContainSubstring("--allowed-vault-networks")))
			g.Expect(reached).To(BeFalse())
		})
	}
}
