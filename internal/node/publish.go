package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// NodePublishVolume makes the volume's files appear at the target path. For a volume that is complete it only takes the
// new token: the pod keeps what it has, whatever state the resolver or Vault is in.
func (d *Driver) NodePublishVolume(ctx context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetTargetPath()
	if err := d.checkTarget(id, target); err != nil {
		return nil, err
	}
	mount, err := mountCapability(request)
	if err != nil {
		return nil, err
	}
	// A refresh of this volume may hold its lock. A republish does not wait for it.
	if v := d.volumes.get(id); v != nil && d.intact(v, target) {
		d.republish(v, request)
		return &csi.NodePublishVolumeResponse{}, nil
	}
	wanted, err := newPublication(request, mount)
	if err != nil {
		d.metrics.published(err)
		return nil, err
	}
	unlock, err := d.locks.lock(ctx, id)
	if err != nil {
		return nil, pending(id)
	}
	defer unlock()

	if v := d.volumes.get(id); v != nil && !v.isClosing() {
		if err := d.reattach(v, target); err != nil {
			return nil, err
		}
		d.republish(v, request)
		return &csi.NodePublishVolumeResponse{}, nil
	}
	started := d.now()
	err = d.publish(ctx, wanted)
	d.metrics.published(err)
	if err != nil {
		return nil, err
	}
	d.metrics.publishDuration.Observe(d.now().Sub(started).Seconds())
	logr.FromContextOrDiscard(ctx).Info(messagePublished,
		keyVolume, id, keyPod, wanted.state.Pod, keyConnection, wanted.state.Attributes[v1alpha1.AttributeConnection])
	return &csi.NodePublishVolumeResponse{}, nil
}

// intact tells whether a published volume is mounted where the kubelet wants it.
func (d *Driver) intact(v *volume, target string) bool {
	if v.isClosing() {
		return false
	}
	current, _ := v.snapshot()
	return current.TargetPath == target && attached(v.dir, target)
}

// attached tells whether target shows the files of the volume in dir.
func attached(dir, target string) bool {
	files, err := os.Stat(filepath.Join(dir, filesDir))
	if err != nil {
		return false
	}
	mounted, err := os.Stat(target)
	return err == nil && os.SameFile(files, mounted)
}

// reattach mounts a complete volume again whose mount at target somebody took away.
func (d *Driver) reattach(v *volume, target string) error {
	current, _ := v.snapshot()
	if current.TargetPath != target {
		return failedPrecondition("the volume %s is published at %s already", v.id, current.TargetPath)
	}
	if attached(v.dir, target) {
		return nil
	}
	if err := d.unmountAll(target); err != nil {
		return fault.In(err, "clearing the target path")
	}
	return d.attach(v.dir, target)
}

// republish takes the token that the kubelet sends about once a minute.
func (d *Driver) republish(v *volume, request *csi.NodePublishVolumeRequest) {
	// Without a readable token the refresh falls behind, and the metrics say so; the pod's files are not at stake.
	if token, err := tokenIn(request); err == nil {
		d.giveToken(v, token)
	}
}

// publish resolves, writes and mounts, in this order: until the last step nothing is visible to the pod, and whatever
// fails leaves the node as it was.
func (d *Driver) publish(ctx context.Context, wanted publication) (err error) {
	current, dir := wanted.state, d.volumeDir(wanted.state.VolumeID)
	// An unpublish that failed, or a publish whose undoing failed, may have left something.
	rest, err := readState(dir)
	if err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, messageInspectFailed, keyVolume, current.VolumeID)
	}
	d.giveBackAll(ctx, current.VolumeID, rest)
	if err := d.teardown(dir, current.TargetPath); err != nil {
		return fault.In(err, "clearing what is left of the volume")
	}
	d.forget(current.VolumeID)

	response, err := d.resolve(ctx, &resolverv1.ResolveRequest{
		PodToken: wanted.token.value, WorkloadTokens: wanted.token.workload, VolumeAttributes: current.Attributes, VolumeId: current.VolumeID,
	})
	if err != nil {
		return err
	}
	v := &volume{id: current.VolumeID, dir: dir, token: wanted.token}
	// The kubelet does not unpublish what it was told had failed. What is mounted and written by then would stay on the
	// node for ever, with a secret in it, so it is undone here, and what was made for the volume is given back. Should that
	// fail too, the next publish, the unpublish or the scan at the next start does it.
	defer func() {
		if err == nil {
			return
		}
		d.giveBack(ctx, current.Pod, response.GetLeases())
		if undone := d.teardown(dir, current.TargetPath); undone != nil {
			logr.FromContextOrDiscard(ctx).Error(undone, messageCleanupFailed, keyVolume, current.VolumeID)
		}
		_ = d.budget.reserve(-v.bytes)
	}()
	if err := checkFiles(response.GetFiles()); err != nil {
		return err
	}
	bytes := volumeBytes(response.GetFiles(), response.GetLeases())
	if err := d.budget.reserve(bytes); err != nil {
		return err
	}
	v.bytes = bytes
	if err := d.fill(dir, wanted, response, &current); err != nil {
		return fault.In(err, "writing the files of the volume")
	}
	if err := d.attach(dir, current.TargetPath); err != nil {
		return err
	}
	current.Complete = true
	if err := d.writeState(dir, current); err != nil {
		return fault.In(err, "completing the volume")
	}
	v.state, v.topics = current, response.GetTopics()
	d.volumes.put(v)
	d.schedule(v, refreshDelay(response))
	return nil
}

// fill makes the volume's tmpfs and writes state and files to it.
func (d *Driver) fill(dir string, wanted publication, response *resolverv1.ResolveResponse, current *state) error {
	if err := d.config.disk.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := d.config.Mounter.Tmpfs(dir, tmpfsOptions(wanted.context)); err != nil {
		return err
	}
	// The target path first: whoever finds this volume incomplete must know where else to look, and what to give back.
	current.Leases = response.GetLeases()
	if err := d.writeState(dir, *current); err != nil {
		return err
	}
	for _, name := range []string{filesDir, stagingDir} {
		if err := d.config.disk.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	dataDir, err := d.projection(dir, current.Group).write(response.GetFiles(), d.now())
	if err != nil {
		return err
	}
	current.Revision, current.DataDir, current.RefreshedAt = response.GetRevision(), dataDir, d.now()
	return nil
}

func (d *Driver) projection(dir string, group *int64) projection {
	return projection{dir: filepath.Join(dir, filesDir), disk: d.config.disk, group: group}
}

// attach mounts the files of the volume in dir at target.
func (d *Driver) attach(dir, target string) error {
	// The kubelet makes the parent, the driver the target itself. A missing parent means that the pod is gone.
	if err := d.config.disk.Mkdir(target, 0o750); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return failedPrecondition("the target path %s has no parent directory: the pod is gone", target)
		}
		return fault.In(err, "making the target path")
	}
	if err := d.config.Mounter.BindReadOnly(filepath.Join(dir, filesDir), filepath.Join(dir, stagingDir), target); err != nil {
		return fault.In(err, "mounting the volume")
	}
	return nil
}

// resolve asks the resolver, for no longer than the configured time.
func (d *Driver) resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.ResolveTimeout)
	defer cancel()
	response, err := d.config.Resolver.Resolve(ctx, request)
	if err != nil {
		return nil, err
	}
	if response == nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the resolver answered nothing")
	}
	return response, nil
}
