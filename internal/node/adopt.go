package node

import (
	"context"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"
)

// adopt takes over the volumes that an earlier process left mounted, and clears away what is incomplete or no pod sees
// any more. Adopted volumes wait for the kubelet's next republish to bring a token.
func (d *Driver) adopt(ctx context.Context) error {
	entries, err := os.ReadDir(d.config.volumesDir())
	if err != nil {
		return err
	}
	logger := logr.FromContextOrDiscard(ctx)
	for _, entry := range entries {
		dir := filepath.Join(d.config.volumesDir(), entry.Name())
		current, whole, err := d.inspect(dir)
		if err != nil {
			// Not known to be broken, so not touched. The kubelet's unpublish or republish deals with it.
			logger.Error(err, messageInspectFailed, keyPath, dir)
			continue
		}
		if !whole {
			logger.Info(messageOrphan, keyPath, dir, keyVolume, current.VolumeID, keyPod, current.Pod)
			d.giveBack(ctx, current.Pod, current.Leases)
			if err := d.teardown(dir, current.TargetPath); err != nil {
				logger.Error(err, messageCleanupFailed, keyPath, dir)
			}
			continue
		}
		bytes := mountedBytes(dir) + leaseBytes(current.Leases)
		d.budget.charge(bytes)
		d.volumes.put(&volume{id: current.VolumeID, dir: dir, state: current, bytes: bytes, waiting: true})
		logger.Info(messageAdopted, keyVolume, current.VolumeID, keyPod, current.Pod)
	}
	return nil
}

// inspect tells whether the volume in dir is complete and mounted for its pod.
func (d *Driver) inspect(dir string) (state, bool, error) {
	mounted, err := d.config.Mounter.Mounted(dir)
	if err != nil || !mounted {
		return state{}, false, err
	}
	current, err := readState(dir)
	if err != nil {
		return state{}, false, err
	}
	whole := current.Complete && directoryName(current.VolumeID) == filepath.Base(dir) && attached(dir, current.TargetPath)
	return current, whole, nil
}
