package node

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/volume"
)

const (
	metricsNamespace = "sallyport"
	metricsSubsystem = "node"
)

// gaugeSources are what the gauges are read from.
type gaugeSources struct {
	clock      clock.PassiveClock
	volumes    *volume.Table
	budget     *volume.MemoryBudget
	spool      *revocation.Spool
	registered *atomic.Bool
}

// metrics are the driver's. No label names a volume, a pod or a path: their number is bounded by the number of reasons.
type metrics struct {
	sources gaugeSources

	publishes       *prometheus.CounterVec
	refreshes       *prometheus.CounterVec
	revocations     *prometheus.CounterVec
	publishDuration prometheus.Histogram

	volumes, stale, oldest, bytes, budget, waiting, registered *prometheus.Desc
}

func newMetrics(sources gaugeSources, registry prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
		}, []string{"reason"})
	}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, nil, nil)
	}
	m := &metrics{
		sources: sources,
		publishes: counter("publishes_total",
			"Volumes that the kubelet asked to mount for the first time, by outcome."),
		refreshes: counter("refreshes_total", "Refreshes of mounted volumes, by outcome."),
		revocations: counter("releases_total",
			"Requests to a resolver to revoke the leases of a volume that is gone, by outcome."),
		publishDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "publish_duration_seconds",
			Help:    "Time from the kubelet's request to the mounted volume, of those that succeeded.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		volumes: desc("volumes", "Mounted volumes."),
		stale: desc("stale_volumes",
			"Mounted volumes whose last refresh failed; they hold the files of the last one that succeeded."),
		oldest: desc("oldest_refresh_age_seconds",
			"Time since the last successful refresh of the volume that waits longest; 0 without volumes."),
		bytes:      desc("memory_used_bytes", "Memory that the files and leases of all volumes take, in whole pages."),
		budget:     desc("memory_budget_bytes", "Memory that the files and leases of all volumes may take."),
		waiting:    desc("waiting_releases", "Volumes that are gone and whose leases are not revoked yet."),
		registered: desc("registered", "1 if the kubelet accepted the driver."),
	}
	var errs []error
	for _, collector := range []prometheus.Collector{m.publishes, m.refreshes, m.revocations, m.publishDuration, m} {
		errs = append(errs, registry.Register(collector))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) published(err error) { m.publishes.WithLabelValues(outcome(err)).Inc() }
func (m *metrics) refreshed(err error) { m.refreshes.WithLabelValues(outcome(err)).Inc() }
func (m *metrics) revoked(err error)   { m.revocations.WithLabelValues(outcome(err)).Inc() }

func outcome(err error) string {
	if err == nil {
		return v1alpha1.ReasonSucceeded
	}
	f, _ := toStatus(err)
	return f.Reason
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.volumes, m.stale, m.oldest, m.bytes, m.budget, m.waiting, m.registered} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. Counting when asked cannot drift from what is mounted.
func (m *metrics) Collect(collected chan<- prometheus.Metric) {
	volumes, stale, oldest, now := 0, 0, time.Duration(0), m.sources.clock.Now()
	for _, v := range m.sources.volumes.All() {
		refreshedAt, failed := v.Stale()
		volumes++
		if failed {
			stale++
		}
		oldest = max(oldest, now.Sub(refreshedAt))
	}
	registered := 0.0
	if m.sources.registered.Load() {
		registered = 1
	}
	gauge := func(desc *prometheus.Desc, value float64) {
		collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	gauge(m.volumes, float64(volumes))
	gauge(m.stale, float64(stale))
	gauge(m.oldest, oldest.Seconds())
	gauge(m.bytes, float64(m.sources.budget.Used()))
	gauge(m.budget, float64(m.sources.budget.Limit()))
	gauge(m.waiting, float64(m.sources.spool.Len()))
	gauge(m.registered, registered)
}
