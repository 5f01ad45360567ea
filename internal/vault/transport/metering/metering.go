// Package metering counts requests to Vault: to which origin, for what, and how they came out. No path, token or answer
// gets here, and what a label may say is a closed list, except for the origins, of which there is a bounded number: a
// tenant decides which there are.
package metering

import (
	"errors"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport.dev/sallyport/internal/shares"
)

const (
	// maxOrigins have labels of their own, maxOriginsOfNamespace at most because of one namespace's VaultConfigs. With
	// every operation and outcome, which is more than one origin ever has, that is some 6,000 series.
	maxOrigins            = 64
	maxOriginsOfNamespace = 8
	// maxOriginLength is scheme, the longest name that DNS has, and port; the same of a proxy, and what is between them.
	maxOriginLength = 2*(8+253+6) + 5
	// Other stands for all origins that have no label of their own.
	Other = "other"
)

// Outcomes of a request.
const (
	OutcomeSucceeded   = "succeeded"
	OutcomeRedirected  = "redirected"
	OutcomeDenied      = "denied"
	OutcomeNotFound    = "not_found"
	OutcomeRateLimited = "rate_limited"
	OutcomeRefused     = "refused"
	OutcomeUnavailable = "unavailable"
	OutcomeFailed      = "failed"
	// OutcomeUnanswered: no response came, or one that is not Vault's.
	OutcomeUnanswered = "unanswered"
)

var (
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_vault_requests_total",
		Help: "Requests of this replica to Vault, by the origin of its URL, operation and outcome.",
	}, []string{"origin", "operation", "outcome"})

	duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sallyport_vault_request_duration_seconds",
		Help:    "Time that requests of this replica to Vault took, response included.",
		Buckets: prometheus.ExponentialBuckets(0.002, 3, 9),
	}, []string{"operation"})

	known = newOrigins()
)

// RegisterMetrics adds the metrics of requests to a registry. A registry that has them already is left as it is, as
// when one process runs several replicas.
func RegisterMetrics(registry prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{requests, duration} {
		if err := registry.Register(collector); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}

// Count counts a request, made because of an object in namespace.
func Count(namespace, origin, operation, outcome string, took time.Duration) {
	requests.WithLabelValues(known.label(namespace, origin), operation, outcome).Inc()
	duration.WithLabelValues(operation).Observe(took.Seconds())
}

// Keep forgets the origins that are not in use any more, and their series.
func Keep(inUse func(origin string) bool) { known.keep(inUse) }

// OutcomeOf tells the outcome by the status of a response; 0: there was none. Status codes themselves are no labels: a
// hostile server would make a series of each.
func OutcomeOf(status int) string {
	switch {
	case status == 0:
		return OutcomeUnanswered
	case status < 300:
		return OutcomeSucceeded
	case status < 400:
		return OutcomeRedirected
	case status == http.StatusForbidden:
		return OutcomeDenied
	case status == http.StatusNotFound:
		return OutcomeNotFound
	case status == http.StatusTooManyRequests:
		return OutcomeRateLimited
	case status < 500:
		return OutcomeRefused
	case status == http.StatusServiceUnavailable:
		return OutcomeUnavailable
	}
	return OutcomeFailed
}

// origins are those that have a label of their own.
type origins struct {
	mu     sync.Mutex
	owners map[string]string // the namespace that an origin is counted for
	counts shares.Counts[string]
}

func newOrigins() *origins {
	return &origins{owners: map[string]string{}, counts: shares.NewCounts[string](maxOrigins, maxOriginsOfNamespace)}
}

// label returns the origin, or Other if there is no room for it.
func (o *origins) label(namespace, origin string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, has := o.owners[origin]; has {
		return origin
	}
	if len(origin) > maxOriginLength || !utf8.ValidString(origin) || !o.counts.Take(namespace) {
		return Other
	}
	o.owners[origin] = namespace
	return origin
}

func (o *origins) keep(inUse func(origin string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for origin, namespace := range o.owners {
		if !inUse(origin) {
			delete(o.owners, origin)
			o.counts.Give(namespace, 1)
			requests.DeletePartialMatch(prometheus.Labels{"origin": origin})
		}
	}
}
