package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
)

// Driver is the CSI driver. Make one with New; Run serves until its context ends.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer

	config  Config
	volumes *volumeTable
	locks   *keyLocks
	budget  *budget
	metrics *metrics

	// due holds the IDs of volumes, each at the time of its next refresh.
	due     workqueue.TypedDelayingInterface[string]
	backoff workqueue.TypedRateLimiter[string]

	// releases hold the leases of volumes that are gone, and releaseDue their names, each at the time of the next try.
	releases       *releases
	releaseDue     workqueue.TypedDelayingInterface[string]
	releaseBackoff workqueue.TypedRateLimiter[string]

	registered atomic.Bool
}

// New checks the configuration and registers the metrics. It starts nothing and touches no file.
func New(config Config) (*Driver, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("node plugin: %w", err)
	}
	d := &Driver{
		config:  config,
		volumes: newVolumeTable(),
		locks:   newKeyLocks(),
		budget:  &budget{limit: config.MemoryBudget},
		due:     newTimetable(config.Clock),
		backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[string](refreshBackoffMin, refreshBackoffMax),

		releases:       newReleases(config.releasesDir(), config.disk),
		releaseDue:     newTimetable(config.Clock),
		releaseBackoff: workqueue.NewTypedItemExponentialFailureRateLimiter[string](releaseBackoffMin, releaseBackoffMax),
	}
	if d.metrics, err = newMetrics(d, config.Registry); err != nil {
		return nil, fmt.Errorf("node plugin: %w", err)
	}
	return d, nil
}

// newTimetable is a queue that gives out each name at its time.
func newTimetable(clock clock.WithTicker) workqueue.TypedDelayingInterface[string] {
	return workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: clock})
}

// Run adopts the volumes that are mounted, cleans up what was left half done, serves CSI, registers with the kubelet, refreshes
// the volumes and gives back leases until ctx ends or a server fails. Calls under way then get some seconds to finish; volumes
// stay mounted. A Driver runs once.
func (d *Driver) Run(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return fmt.Errorf("node plugin: %w", err)
	}
	logger := logr.FromContextOrDiscard(ctx).WithName("node")
	ctx = logr.NewContext(ctx, logger)
	if err := d.resumeReleases(ctx); err != nil {
		return fmt.Errorf("node plugin: looking for leases to give back: %w", err)
	}
	if err := d.adopt(ctx); err != nil {
		return fmt.Errorf("node plugin: looking for mounted volumes: %w", err)
	}
	err := d.serve(ctx)
	if err := d.releases.close(d.removeMountPoint); err != nil {
		logger.Error(err, messageCleanupFailed, keyPath, d.config.releasesDir())
	}
	if err != nil {
		return fmt.Errorf("node plugin: %w", err)
	}
	return nil
}

// prepare makes the directories, and refuses to work where pods would not see the mounts: they would start with an empty volume.
func (d *Driver) prepare() error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{
		{d.config.PluginDir, 0o750},
		{d.config.RegistrationDir, 0o750},
		{d.config.volumesDir(), 0o700},
		{d.config.releasesDir(), 0o700},
	} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return err
		}
	}
	// Other users of the node have no business among the volumes; the pods' own way leads through their target paths.
	if err := os.Chmod(d.config.volumesDir(), 0o700); err != nil {
		return err
	}
	for _, dir := range []string{d.config.volumesDir(), d.config.podsDir()} {
		shared, err := d.config.Mounter.Shared(dir)
		if err != nil {
			return err
		}
		if !shared {
			return fmt.Errorf("mounts below %s would not reach the pods: mount it with mountPropagation: Bidirectional", dir)
		}
	}
	return d.mountReleases()
}

// volumeDir is the directory of the volume, mounted or not.
func (d *Driver) volumeDir(id string) string {
	return filepath.Join(d.config.volumesDir(), directoryName(id))
}

func (d *Driver) now() time.Time { return d.config.Clock.Now() }
