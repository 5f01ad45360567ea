package lease

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	actionMade     = "made"
	actionRenewed  = "renewed"
	actionReleased = "released"
	actionLeft     = "left"
	// actionForgotten: there was no room to remember that it is pending.
	actionForgotten = "forgotten"
)

var leases = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "sallyport_leases_total",
	Help: "What this replica did with the leases of volumes: issued (made), renewed, " +
		"revoked (released), left to expire (left), or issued without room to remember it until its volume comes with it " +
		"(forgotten).",
}, []string{"action"})

// RegisterMetrics adds the metrics of leases to a registry. A registry that has them already is left as it is, as when
// one process runs several replicas.
func RegisterMetrics(registry prometheus.Registerer, m *Manager) error {
	for _, collector := range []prometheus.Collector{
		leases,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sallyport_leases_pending",
			Help: "Leases that this replica handed over and that no volume has come back with yet.",
		}, func() float64 { return float64(m.pending.length()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sallyport_leases_owed",
			Help: "Leases that nobody has any more and that this replica has yet to revoke.",
		}, func() float64 { return float64(m.queue.length()) }),
	} {
		if err := registry.Register(collector); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}
