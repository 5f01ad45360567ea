package node

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/util/cache"

	"sallyport.dev/sallyport/internal/node/refresh"
	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/schedule"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// maxNeeds is more than the volumes that wait on one node, and needFor bounds how long a volume waits that has
	// become smaller meanwhile.
	maxNeeds = 4096
	needFor  = 5 * time.Minute

	// maxPublishes volumes are mounted at once, most of them waiting for an answer, and maxPublishesPerNamespace of one
	// namespace. The others wait for publishWait, so that the kubelet, which gives up after two minutes, hears why.
	maxPublishes             = 64
	maxPublishesPerNamespace = 8
	publishWait              = time.Minute

	// maxAnswers are in memory at a time, from their first byte until they are written: up to 3 MiB each while they are
	// decoded.
	maxAnswers = 8
)

// Driver is the CSI driver. Make one with New; Run serves until its context ends.
type Driver struct {
	csi.UnimplementedNodeServer

	config  Config
	volumes *volume.Table
	locks   *volume.Locks
	store   *volume.Store
	budget  *volume.MemoryBudget
	// needs is the memory that volumes need for which there was none, by ID: until there is, nobody is asked for them.
	needs   *cache.LRUExpireCache
	metrics *metrics
	// publishing gives each namespace its turn with the volumes that it mounts.
	publishing *schedule.Shares
	answers    *resolverv1.Answers

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
		store:   volume.NewStore(config.volumesDir(), config.filesystem, config.Mounter, config.Clock),
		budget:  volume.NewMemoryBudget(config.MemoryBudget),
		needs:   cache.NewLRUExpireCacheWithClock(maxNeeds, config.Clock),
		spool:   revocation.NewSpool(config.spoolDir(), config.filesystem),
	}
	d.publishing = schedule.NewShares(maxPublishes, maxPublishesPerNamespace)
	d.answers = resolverv1.NewAnswers(maxAnswers)
	d.metrics, err = newMetrics(gaugeSources{
		clock: config.Clock, volumes: d.volumes, budget: d.budget, spool: d.spool, registered: &d.registered,
	}, config.Registry)
	if err != nil {
		return nil, fmt.Errorf("node plugin: %w", err)
	}
	d.revocations = revocation.NewQueue(d.spool, config.Resolver, config.Clock, d.metrics.revoked)
	d.refresher = refresh.New(refresh.Config{
		Volumes: d.volumes, Locks: d.locks, Store: d.store, Revocations: d.revocations,
		Resolver: config.Resolver, Changes: config.Changes, Answers: d.answers, Clock: config.Clock,
		Offset: config.RefreshOffset, Observe: d.metrics.refreshed,
	})
	return d, nil
}

func (d *Driver) now() time.Time { return d.config.Clock.Now() }
