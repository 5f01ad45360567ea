package node

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	metricsNamespace = "sallyport"
	metricsSubsystem = "node"
)

// metrics are the driver's. No label names a volume, a pod or a path: their number is bounded by the number of reasons.
type metrics struct {
	driver *Driver

	publishes       *prometheus.CounterVec
	refreshes       *prometheus.CounterVec
	releases        *prometheus.CounterVec
	publishDuration prometheus.Histogram

	volumes, stale, oldest, bytes, budget, waiting, registered *prometheus.Desc
}

func newMetrics(d *Driver, registry prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help,
		}, []string{"reason"})
	}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, nil, nil)
	}
	m := &metrics{
		driver:    d,
		publishes: counter("publishes_total", "Volumes that the kubelet asked to mount for the first time, by outcome."),
		refreshes: counter("refreshes_total", "Refreshes of mounted volumes, by outcome."),
		releases:  counter("releases_total", "Attempts to give back the leases of a volume that is gone, by outcome."),
		publishDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "publish_duration_seconds",
			Help:    "Time from the kubelet's request to the mounted volume, of those that succeeded.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		volumes:    desc("volumes", "Mounted volumes."),
		stale:      desc("stale_volumes", "Mounted volumes whose last refresh failed; they hold the files of the last one that succeeded."),
		oldest:     desc("oldest_refresh_age_seconds", "Time since the last successful refresh of the volume that waits longest; 0 without volumes."),
		bytes:      desc("memory_used_bytes", "Memory that the files of all volumes take, in whole pages."),
		budget:     desc("memory_budget_bytes", "Memory that the files of all volumes may take."),
		waiting:    desc("waiting_releases", "Volumes that are gone and whose leases are not given back yet."),
		registered: desc("registered", "1 if the kubelet accepted the driver."),
	}
	var errs []error
	for _, collector := range []prometheus.Collector{m.publishes, m.refreshes, m.releases, m.publishDuration, m} {
		errs = append(errs, registry.Register(collector))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) published(err error) { m.publishes.WithLabelValues(outcome(err)).Inc() }
func (m *metrics) refreshed(err error) { m.refreshes.WithLabelValues(outcome(err)).Inc() }
func (m *metrics) released(err error)  { m.releases.WithLabelValues(outcome(err)).Inc() }

func outcome(err error) string {
	if err == nil {
		return v1alpha1.ReasonSucceeded
	}
	reason, _, _ := answer(err)
	return reason
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.volumes, m.stale, m.oldest, m.bytes, m.budget, m.waiting, m.registered} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. Counting when asked cannot drift from what is mounted.
func (m *metrics) Collect(collected chan<- prometheus.Metric) {
	volumes, stale, oldest, now := 0, 0, time.Duration(0), m.driver.now()
	for _, v := range m.driver.volumes.all() {
		v.mu.Lock()
		volumes++
		if v.stale {
			stale++
		}
		oldest = max(oldest, now.Sub(v.state.RefreshedAt))
		v.mu.Unlock()
	}
	registered := 0.0
	if m.driver.registered.Load() {
		registered = 1
	}
	gauge := func(desc *prometheus.Desc, value float64) {
		collected <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	gauge(m.volumes, float64(volumes))
	gauge(m.stale, float64(stale))
	gauge(m.oldest, oldest.Seconds())
	gauge(m.bytes, float64(m.driver.budget.inUse()))
	gauge(m.budget, float64(m.driver.config.MemoryBudget))
	gauge(m.waiting, float64(m.driver.releases.count()))
	gauge(m.registered, registered)
}
