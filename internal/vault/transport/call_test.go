package transport

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/fault"
)

func TestOnlyARedirectToTheSamePlaceIsFollowed(t *testing.T) {
	c := &Conn{transport: &Transport{Config: Config{Address: "https://vault.example.com"}}}
	r := Request{Method: http.MethodGet, Path: "secret/data/a b"}
	for location, follow := range map[string]bool{
		"https://vault.example.com/v1/secret/data/a%20b":            true,
		"https://VAULT.example.com:443/v1/secret/data/a%20b?x=y":    true,
		"https://vault.example.com/v1/secret/data/other":            false,
		"https://vault.example.com:8200/v1/secret/data/a%20b":       false,
		"http://vault.example.com/v1/secret/data/a%20b":             false,
		"https://evil.example/v1/secret/data/a%20b":                 false,
		"https://vault.example.com@evil.example/v1/secret/data/a b": false,
		"//evil.example/v1/secret/data/a%20b":                       false,
		"/v1/secret/data/a%20b":                                     false,
		"":                                                          false,
		"::":                                                        false,
	} {
		NewWithT(t).Expect(c.leadsBack(location, r)).To(Equal(follow), "%q", location)
	}
	below := &Conn{transport: &Transport{Config: Config{Address: "https://gw.example.com/vault"}}}
	for location, follow := range map[string]bool{
		"https://gw.example.com:443/vault/v1/secret/data/a%20b":  true,
		"https://gw.example.com/v1/secret/data/a%20b":            false,
		"https://gw.example.com/other/v1/secret/data/a%20b":      false,
		"https://gw.example.com/vault/v1/v1/secret/data/a%20b":   false,
		"https://gw.example.com/other/../vault/v1/secret/data/a": false,
	} {
		NewWithT(t).Expect(below.leadsBack(location, r)).To(Equal(follow), "%q", location)
	}
}

// TestANodeThatLagsIsWaitedFor: a node that has not yet seen the state that a token was made from did nothing, so that
// also a write is sent again, for as long as one request may take.
func TestANodeThatLagsIsWaitedFor(t *testing.T) {
	for name, lag := range map[string]time.Duration{"and caught up with": time.Second, "in vain": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				start, sends := time.Now(), 0
				conn := connTo(t, func(w http.ResponseWriter, _ *http.Request) {
					if sends++; time.Since(start) < lag {
						w.WriteHeader(http.StatusPreconditionFailed)
						_, _ = w.Write([]byte(`{"errors":["required index state not present"]}`))
						return
					}
					_, _ = w.Write([]byte(`{"request_id":"1"}`))
				})
				conn.timeout = 3 * time.Second
				_, err := conn.Call(t.Context(), Request{Method: http.MethodPost, Path: "secret/data/a", Actor: "us"})
				g.Expect(sends).To(BeNumerically("~", 5, 2), "with pauses")
				if lag < conn.timeout {
					g.Expect(err).NotTo(HaveOccurred())
					return
				}
				g.Expect(time.Since(start)).To(BeNumerically("~", 2500*time.Millisecond, time.Second))
				f := fault.From(err)
				g.Expect(f.Class).To(Equal(fault.ClassTransient))
				g.Expect(f.OutcomeUnknown).To(BeFalse(), "Vault did nothing")
				g.Expect(f.Message()).To(ContainSubstring("POST secret/data/a → 412"))
			})
		})
	}
}
