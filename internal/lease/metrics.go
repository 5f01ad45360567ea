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
)

var leases = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "sallyport_leases_total",
	Help: "What this replica did with the leases of volumes: issued (made), renewed, " +
		"revoked (released), or left to expire (left).",
}, []string{"action"})

// RegisterMetrics adds the metrics of leases to a registry. A registry that has them already is left as it is, as when
// one process runs several replicas.
func RegisterMetrics(registry prometheus.Registerer) error {
	if err := registry.Register(leases); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
		return err
	}
	return nil
}
