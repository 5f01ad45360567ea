package metering

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scraped returns the series of requests, as Prometheus gets them.
func scraped() []string {
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	var found []string
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "sallyport_") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func line(origin, outcome string, count int) string {
	return fmt.Sprintf("sallyport_vault_requests_total{operation=%q,origin=%q,outcome=%q} %d", "read", origin, outcome, count)
}

// TestOriginsHaveABound: who makes VaultConfigs decides which origins there are, and not how many series.
func TestOriginsHaveABound(t *testing.T) {
	g := NewWithT(t)
	defer Keep(func(string) bool { return false })
	for i := range 1000 {
		Count("hostile", fmt.Sprintf("https://%d.example.com", i), "read", OutcomeUnanswered, time.Second)
	}
	g.Expect(scraped()).To(HaveLen(maxOriginsOfNamespace + 1))
	g.Expect(scraped()).To(ContainElement(line(Other, OutcomeUnanswered, 1000-maxOriginsOfNamespace)), "counted together")

	Count("shop", "https://vault.example.com", "read", OutcomeSucceeded, time.Second)
	g.Expect(scraped()).To(ContainElement(line("https://vault.example.com", OutcomeSucceeded, 1)), "another namespace's")

	for n := range 100 {
		for i := range maxOriginsOfNamespace {
			Count(fmt.Sprint(n), fmt.Sprintf("https://%d.%d.example.com", i, n), "read", OutcomeSucceeded, time.Second)
		}
	}
	g.Expect(known.owners).To(HaveLen(maxOrigins))

	Keep(func(origin string) bool { return origin == "https://vault.example.com" })
	g.Expect(scraped()).To(HaveLen(3), "it, and all others together")
	Count("hostile", "https://new.example.com", "read", OutcomeSucceeded, time.Second)
	g.Expect(scraped()).To(ContainElement(line("https://new.example.com", OutcomeSucceeded, 1)), "there is room again")
}

func TestAnOriginThatNoLabelCanHold(t *testing.T) {
	g := NewWithT(t)
	defer Keep(func(string) bool { return false })
	o := newOrigins()
	g.Expect(o.label("shop", "https://\xff.example.com")).To(Equal(Other))
	g.Expect(o.label("shop", "https://"+string(make([]byte, maxOriginLength)))).To(Equal(Other))
	g.Expect(o.counts.All()).To(BeZero())
}

func TestRegisteringTwice(t *testing.T) {
	g := NewWithT(t)
	registry := prometheus.NewRegistry()
	g.Expect(RegisterMetrics(registry)).To(Succeed())
	g.Expect(RegisterMetrics(registry)).To(Succeed())
}

func TestOutcomesAreAClosedList(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]bool{}
	for status := range 1000 {
		seen[OutcomeOf(status)] = true
	}
	g.Expect(seen).To(HaveLen(9))
	g.Expect(OutcomeOf(403)).To(Equal(OutcomeDenied))
	g.Expect(OutcomeOf(500)).To(Equal(OutcomeFailed))
	g.Expect(OutcomeOf(418)).To(Equal(OutcomeRefused))
}
