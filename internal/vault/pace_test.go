package vault

import (
	"context"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestPace(t *testing.T) {
	read := request{method: http.MethodGet, path: "secret/data/db", as: "VaultConfig shop/prod, auth token"}
	renewal := request{method: http.MethodPost, path: "auth/token/renew-self", as: "VaultConfig shop/prod, auth token"}
	one := int32(1)
	limited := func() *pace { return newPace(&v1alpha1.VaultLimits{RequestsPerSecond: &one}) }
	expired, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()

	t.Run("sets no bound of its own", func(t *testing.T) {
		g := NewWithT(t)
		for _, p := range []*pace{nil, newPace(nil), newPace(&v1alpha1.VaultLimits{})} {
			for range 1000 {
				g.Expect(p.turn(expired, time.Second, read)).To(Succeed())
			}
		}
	})
	t.Run("lets a burst through at once", func(t *testing.T) {
		g := NewWithT(t)
		burst := int32(3)
		p := newPace(&v1alpha1.VaultLimits{RequestsPerSecond: &one, Burst: &burst})
		for range 3 {
			g.Expect(p.turn(expired, time.Second, read)).To(Succeed())
		}
		g.Expect(p.turn(expired, time.Second, read)).NotTo(Succeed())
	})
	t.Run("refuses what would wait longer than its time-out, and does not count it", func(t *testing.T) {
		g := NewWithT(t)
		p := limited()
		g.Expect(p.turn(t.Context(), time.Second, read)).To(Succeed())
		for range 3 {
			g.Expect(p.turn(t.Context(), 100*time.Millisecond, read)).To(Equal(fault.Transient(v1alpha1.ReasonRateLimited,
				"GET secret/data/db → not sent: its turn comes only in 1s, for more is asked of Vault than spec.limits allows, "+
					"1 requests a second (VaultConfig shop/prod, auth token); raise spec.limits.requestsPerSecond")))
		}
		started := time.Now()
		g.Expect(p.turn(t.Context(), 5*time.Second, read)).To(Succeed())
		g.Expect(time.Since(started)).To(BeNumerically(">", 500*time.Millisecond))
	})
	t.Run("does not let a token die", func(t *testing.T) {
		g := NewWithT(t)
		p := limited()
		g.Expect(p.turn(expired, 0, read)).To(Succeed())
		g.Expect(p.turn(expired, 0, renewal)).To(Succeed())
	})
	t.Run("ends its wait with the caller", func(t *testing.T) {
		g := NewWithT(t)
		p := limited()
		g.Expect(p.turn(t.Context(), time.Second, read)).To(Succeed())
		leaving, leave := context.WithCancel(t.Context())
		leave()
		g.Expect(fault.Is(p.turn(leaving, 5*time.Second, read), v1alpha1.ReasonInternal)).To(BeTrue())
	})
	t.Run("keeps the time that Vault names", func(t *testing.T) {
		g := NewWithT(t)
		p := newPace(nil)
		p.hold(20 * time.Second)
		p.hold(time.Second) // does not shorten it
		g.Expect(p.turn(t.Context(), 10*time.Second, read)).To(Equal(fault.Transient(v1alpha1.ReasonRateLimited,
			"GET secret/data/db → not sent: a quota in Vault is used up, and Vault wants no request for 20s (VaultConfig shop/prod, auth token); raise the quota")))
	})
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-1": 0, "7": 7 * time.Second, "99999999999": 0, "86400": maxHold, "Wed, 21 Oct 2026 07:28:00 GMT": 0, "soon": 0,
	} {
		got := newReply(&http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {value}}})
		if value == "99999999999" {
			want = maxHold
		}
		NewWithT(t).Expect(got.retryAfter).To(Equal(want), "%q", value)
	}
}

func TestOnlyARedirectToTheSamePlaceIsFollowed(t *testing.T) {
	l := &link{wire: &wire{route: route{origin: "https://vault.example.com"}}}
	r := request{method: http.MethodGet, path: "secret/data/a b"}
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
		NewWithT(t).Expect(l.leadsBack(location, r)).To(Equal(follow), "%q", location)
	}
}
