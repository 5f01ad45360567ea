package node

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"sallyport.dev/sallyport/internal/node/refresh"
	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/volume"
)

// Driver is the CSI driver. Make one with New; Run serves until its context ends.
type Driver struct {
	csi.UnimplementedNodeServer

	config  Config
	volumes *volume.Table
	locks   *volume.Locks
	store   *volume.Store
	budget  *volume.MemoryBudget
	metrics *metrics

	refresher *refresh.Refresher
	// spool holds the leases of volumes that are gone, and revocations has them revoked.
	spool       *revocation.Spool
	revocations *revocation.Queue

	registered atomic.Bool
}

// New checks the configuration and registers the metrics. It starts nothing and touches no file.
func New(config Config) (*Driver, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("node plugin: %w", err)
	}
	config.Resolver = boundedResolver{Resolver: config.Resolver, timeout: config.ResolveTimeout}
	d := &Driver{
		config:  config,
		volumes: volume.NewTable(),
		locks:   volume.NewLocks(),
		store: &volume.Store{
			Dir: config.volumesDir(), Filesystem: config.filesystem, Mounter: config.Mounter, Clock: config.Clock,
		},
		budget: volume.NewMemoryBudget(config.MemoryBudget),
		spool:  revocation.NewSpool(config.spoolDir(), config.filesystem),
	}
	d.metrics, err = newMetrics(gaugeSources{
		clock: config.Clock, volumes: d.volumes, budget: d.budget, spool: d.spool, registered: &d.registered,
	}, config.Registry)
	if err != nil {
		return nil, fmt.Errorf("node plugin: %w", err)
	}
	d.revocations = revocation.NewQueue(d.spool, config.Resolver, config.Clock, d.metrics.revoked)
	d.refresher = refresh.New(refresh.Config{
		Volumes: d.volumes, Locks: d.locks, Store: d.store, Revocations: d.revocations,
		Resolver: config.Resolver, Changes: config.Changes, Clock: config.Clock, Observe: d.metrics.refreshed,
	})
	return d, nil
}

func (d *Driver) now() time.Time { return d.config.Clock.Now() }
