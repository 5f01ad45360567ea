package node

import (
	"context"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/fault"
)

const (
	unmountTries = 5
	unmountPause = 20 * time.Millisecond
	// maxStacked bounds the mounts on top of each other that are taken off one path.
	maxStacked = 64
)

// NodeUnpublishVolume takes the volume away. It succeeds for a volume that nobody knows, and needs no memory of an earlier
// process.
func (d *Driver) NodeUnpublishVolume(ctx context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetTargetPath()
	if err := d.checkTarget(id, target); err != nil {
		return nil, err
	}
	unlock, err := d.locks.lock(ctx, id)
	if err != nil {
		return nil, pending(id)
	}
	defer unlock()

	logger := logr.FromContextOrDiscard(ctx)
	dir := d.volumeDir(id)
	current, err := readState(dir)
	if err != nil {
		logger.Error(err, messageInspectFailed, keyVolume, id)
	}
	if current.TargetPath != "" && current.TargetPath != target {
		// Published, but not there: whatever is at target is not the volume's only mount.
		dir = ""
	} else {
		if v := d.volumes.get(id); v != nil {
			v.close()
		}
		// First, for a teardown that is killed half-way leaves no state. No resolver is needed for it.
		d.giveBackAll(ctx, id, current)
	}
	if err := d.teardown(dir, target); err != nil {
		return nil, fault.In(err, "unmounting the volume")
	}
	if dir != "" {
		d.forget(id)
	}
	logger.Info(messageUnpublished, keyVolume, id)
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// forget drops what is known of the volume, once nothing of it is left on the node.
func (d *Driver) forget(id string) {
	v := d.volumes.get(id)
	if v == nil {
		return
	}
	d.volumes.remove(id)
	d.backoff.Forget(id)
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = d.budget.reserve(-v.bytes)
	v.bytes = 0
}

// teardown removes whatever there is of a volume: the pod's mount, the target path, the tmpfs and its directory. It begins
// with what the pod sees, so that a half-done teardown is recognised as one. Either path may be empty.
func (d *Driver) teardown(dir, target string) error {
	if target != "" {
		if err := d.removeMountPoint(target); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	// A process that was killed while it mounted for the pod left this one.
	if err := d.unmountAll(filepath.Join(dir, stagingDir)); err != nil {
		return err
	}
	return d.removeMountPoint(dir)
}

// removeMountPoint never removes more than an empty directory: what is still mounted there, or was never ours, stays.
func (d *Driver) removeMountPoint(path string) error {
	if err := d.unmountAll(path); err != nil {
		return err
	}
	return d.config.disk.Remove(path)
}

// unmountAll takes every mount off path.
func (d *Driver) unmountAll(path string) error {
	for range maxStacked {
		mounted, err := d.config.Mounter.Mounted(path)
		if err != nil || !mounted {
			return err
		}
		if err := d.unmount(path); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) unmount(path string) error {
	for range unmountTries {
		if d.config.Mounter.Unmount(path, false) == nil {
			return nil
		}
		d.config.Clock.Sleep(unmountPause)
	}
	// The last resort: somebody holds a file open on the host. A pod that cannot be deleted because of that would be worse than
	// a mount that is gone from the tree now and from memory when that file is closed.
	return d.config.Mounter.Unmount(path, true)
}
