package usage

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// askedLately is the longest pause of a node between two tries in vain, and some. What a volume that asks another
// replica by now is due is told there.
const askedLately = 5 * time.Minute

// RegisterMetrics adds the metrics of a tracker's volumes to a registry. A registry that has some already is left as it
// is, as when one process runs several replicas.
func RegisterMetrics(registry prometheus.Registerer, t *VolumeTracker) error {
	for _, collector := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sallyport_leases_held",
			Help: "Leases of the volumes that asked this replica lately.",
		}, func() float64 { held, _ := t.leases(); return float64(held) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sallyport_volumes_with_due_leases",
			Help: "Volumes that asked this replica lately for a lease to be renewed, replaced or revoked, in vain.",
		}, func() float64 { _, due := t.leases(); return float64(due) }),
	} {
		if err := registry.Register(collector); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}

// leases returns how many leases volumes hold, and how many volumes have one that is due. A volume asks when something
// is due; one that does not is gone, for nobody tells the tracker, or its node is, which the node's own metrics show.
func (t *VolumeTracker) leases() (held, due int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	for _, volumes := range t.connections {
		for _, volume := range volumes {
			if now.After(volume.until) {
				continue
			}
			held += volume.leases
			if !volume.due.IsZero() && volume.asked.After(volume.due) && now.Sub(volume.asked) < askedLately {
				due++
			}
		}
	}
	return held, due
}
