package node

import (
	"bytes"
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/node/volume"
)

// NodeUnpublishVolume takes the volume away. It succeeds for a volume that nobody knows, and needs no memory of an
// earlier process.
func (d *Driver) NodeUnpublishVolume(
	ctx context.Context, request *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetTargetPath()
	if err := checkTarget(d.config.podsDir(), id, target); err != nil {
		return nil, err
	}
	unlock, err := d.locks.Lock(ctx, id)
	if err != nil {
		return nil, pending(id)
	}
	defer unlock()

	logger := logr.FromContextOrDiscard(ctx)
	dir := d.store.Path(id)
	current, err := volume.ReadState(dir)
	if err != nil {
		logger.Error(err, messageInspectFailed, logkeys.Volume, id)
	}
	if current.TargetPath != "" && current.TargetPath != target {
		// Published, but not there: whatever is at target is not the volume's only mount.
		dir = ""
	} else {
		if v := d.volumes.Get(id); v != nil {
			v.Close()
		}
		// First, for a removal that is killed half-way leaves no state. No resolver is needed for it.
		d.revokeLeases(ctx, id, current)
	}
	if err := d.store.Remove(dir, target); err != nil {
		return nil, fault.In(err, "unmounting the volume")
	}
	if dir != "" {
		d.forget(id)
	}
	logger.Info(messageUnpublished, logkeys.Volume, id)
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// forget drops what is known of the volume, once nothing of it is left on the node.
func (d *Driver) forget(id string) {
	v := d.volumes.Get(id)
	if v == nil {
		return
	}
	d.volumes.Remove(id)
	d.refresher.Forget(id)
	v.Memory.Release()
}

// revokeLeases queues all leases that the volume has, if any: those of the state beside it, and those that the driver
// knows of. Done before anything of the volume is removed, it needs no memory of an earlier process and may be done
// twice.
func (d *Driver) revokeLeases(ctx context.Context, id string, beside volume.State) {
	d.revocations.Enqueue(ctx, beside.Pod, beside.Leases)
	v := d.volumes.Get(id)
	if v == nil {
		return
	}
	// They differ if the last could not be written. The same a second time would be asked for twice, if the first are
	// revoked by now.
	if known, _ := v.Snapshot(); !bytes.Equal(known.Leases, beside.Leases) {
		d.revocations.Enqueue(ctx, known.Pod, known.Leases)
	}
}
