package server

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_resolver_requests_total",
		Help: "Requests from nodes for the files of one volume, also of those that share a call, by the reason of their outcome.",
	}, []string{"reason"})

	calls = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_resolver_calls_total",
		Help: "Calls of nodes to this replica's resolver, by method. One of ResolveEach has many requests.",
	}, []string{"method"})

	authorizations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_resolver_authorizations_total",
		Help: "Volumes that this replica's resolver authorised a node for, by what it followed from.",
	}, []string{"by"})

	refusedCallers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_resolver_refused_callers_total",
		Help: "Requests to this replica's resolver of whoever is not the node plugin, or could not be known, by reason.",
	}, []string{"reason"})

	refusedConnections = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_resolver_refused_connections_total",
		Help: "Connections to this replica's resolver that were closed: over a limit, or without a known caller in time.",
	})

	servedInOutage = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_resolver_outage_volumes_total",
		Help: "Volumes that this replica served from memory, for Vault could not be reached (spec.outage.serveFor).",
	})

	duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "sallyport_resolver_request_duration_seconds",
		Help:    "Time that this replica's resolver took for a request.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	})
)

// RegisterMetrics adds the resolver's metrics to a registry. A registry that has them already is left as it is, as when
// one process runs several replicas.
func RegisterMetrics(registry prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{
		requests, calls, authorizations, refusedCallers, refusedConnections, servedInOutage, duration,
	} {
		if err := registry.Register(collector); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}
