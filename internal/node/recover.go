package node

import (
	"context"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/node/volume"
)

// recoverVolumes takes over the volumes that an earlier process left mounted, and clears away what is incomplete or no
// pod sees any more. Recovered volumes go on with the tokens that lie beside
// them; one whose token has expired waits for the kubelet's next republish to bring another.
func (d *Driver) recoverVolumes(ctx context.Context) error {
	dirs, err := d.store.Paths()
	if err != nil {
		return err
	}
	logger := logr.FromContextOrDiscard(ctx)
	for _, dir := range dirs {
		current, whole, err := d.store.Inspect(dir)
		if err != nil {
			// Not known to be broken, so not touched. The kubelet's unpublish or republish deals with it.
			logger.Error(err, messageInspectFailed, logkeys.Path, dir)
			continue
		}
		if !whole {
			logger.Info(messageOrphan, logkeys.Path, dir, logkeys.Volume, current.VolumeID, logkeys.Pod, current.Pod)
			d.revocations.Enqueue(ctx, current.Pod, current.Leases)
			if err := d.store.Remove(dir, current.TargetPath); err != nil {
				logger.Error(err, messageCleanupFailed, logkeys.Path, dir)
			}
			continue
		}
		v, token := volume.Recovered(dir, current, d.budget), volume.ReadToken(dir)
		d.volumes.Put(v)
		v.TokenStored(token)
		d.refresher.SetToken(v, token)
		logger.Info(messageRecovered, logkeys.Volume, current.VolumeID, logkeys.Pod, current.Pod)
	}
	return nil
}
