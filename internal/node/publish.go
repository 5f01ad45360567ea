package node

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/node/schedule"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/tracing"
)

// NodePublishVolume makes the volume's files appear at the target path. For a volume that is complete it only takes the
// new token: the pod keeps what it has, whatever state the resolver or Vault is in.
func (d *Driver) NodePublishVolume(
	ctx context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetTargetPath()
	if err := checkTarget(d.config.podsDir(), id, target); err != nil {
		return nil, err
	}
	capability, err := mountCapability(request)
	if err != nil {
		return nil, err
	}
	// A refresh of this volume may hold its lock. A republish does not wait for it.
	if v := d.volumes.Get(id); v != nil && d.intact(v, target) {
		d.republish(v, request)
		return &csi.NodePublishVolumeResponse{}, nil
	}
	wanted, err := newPublication(request, capability)
	if err != nil {
		d.metrics.published(err)
		return nil, err
	}
	unlock, err := d.locks.Lock(ctx, id)
	if err != nil {
		return nil, pending(id)
	}
	defer unlock()

	if v := d.volumes.Get(id); v != nil && !v.Closing() {
		if err := d.remount(v, target); err != nil {
			return nil, err
		}
		d.republish(v, request)
		return &csi.NodePublishVolumeResponse{}, nil
	}
	started := d.now()
	err = d.publishInTurn(ctx, wanted)
	d.metrics.published(err)
	if err != nil {
		return nil, err
	}
	d.metrics.publishDuration.Observe(d.now().Sub(started).Seconds())
	logr.FromContextOrDiscard(ctx).Info(messagePublished, logkeys.Volume, id, logkeys.Pod, wanted.state.Pod,
		logkeys.Connection, wanted.state.Attributes[v1alpha1.AttributeConnection])
	return &csi.NodePublishVolumeResponse{}, nil
}

// intact tells whether a published volume is mounted where the kubelet wants it.
func (d *Driver) intact(v *volume.Volume, target string) bool {
	if v.Closing() {
		return false
	}
	current, _ := v.Snapshot()
	return current.TargetPath == target && d.store.MountedForPod(v.Dir, target)
}

// remount mounts a complete volume again whose mount at target somebody took away.
func (d *Driver) remount(v *volume.Volume, target string) error {
	current, _ := v.Snapshot()
	if current.TargetPath != target {
		return failedPrecondition("the volume %s is published at %s already", v.ID, current.TargetPath)
	}
	return d.store.MountAgain(v.Dir, target)
}

// republish takes the token that the kubelet sends about once a minute.
func (d *Driver) republish(v *volume.Volume, request *csi.NodePublishVolumeRequest) {
	// Without a readable token the refresh falls behind, and the metrics say so; the pod's files are not at stake.
	if token, err := tokenIn(request); err == nil {
		d.refresher.SetToken(v, token)
	}
}

// publishInTurn publishes the volume when it is its namespace's turn.
func (d *Driver) publishInTurn(ctx context.Context, wanted publication) (err error) {
	namespace := wanted.state.Pod.Namespace
	ctx, span := tracing.Start(ctx, tracing.Internal, "publish")
	defer func() { span.End(err) }()
	span.Set(tracing.Namespace, namespace)
	span.Set(tracing.Pod, wanted.state.Pod.Name)
	span.Set(tracing.Connection, wanted.state.Attributes[v1alpha1.AttributeConnection])
	waiting, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	release, err := d.publishing.Acquire(waiting, namespace, schedule.First)
	if err != nil {
		return fault.Transient(v1alpha1.ReasonNodeBusy,
			"%d volumes of namespace %s, or %d in all, are being mounted on this node, and this one waited %s for its turn: "+
				"those before it wait for an answer; see the events of their pods",
			maxPublishesPerNamespace, namespace, maxPublishes, publishWait)
	}
	defer release()
	ctx, done := d.answers.Hold(ctx)
	defer done()
	return d.publish(ctx, wanted)
}

// publish resolves, writes and mounts, in this order: until the last step nothing is visible to the pod, and whatever
// fails leaves the node as it was.
func (d *Driver) publish(ctx context.Context, wanted publication) (err error) {
	current, dir := wanted.state, d.store.Path(wanted.state.VolumeID)
	if err := d.clear(ctx, current.VolumeID, dir, current.TargetPath); err != nil {
		return err
	}
	memory, err := d.reserve(current)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			memory.Release()
		}
	}()
	response, err := d.config.Resolver.Resolve(ctx, &resolverv1.ResolveRequest{
		PodToken: wanted.token.Value, WorkloadTokens: wanted.token.Workload,
		VolumeAttributes: current.Attributes, VolumeId: current.VolumeID,
	})
	if err != nil {
		return err
	}
	// The kubelet does not unpublish what it was told had failed. What is mounted and written by then would stay on the
	// node for ever, with a secret in it, so it is undone here, and what was made for the volume is revoked. Should
	// that fail too, the next publish, the unpublish or the scan at the next start does it.
	defer func() {
		if err == nil {
			return
		}
		d.revocations.Enqueue(ctx, current.Pod, response.GetLeases())
		if undone := d.store.Remove(dir, current.TargetPath); undone != nil {
			logr.FromContextOrDiscard(ctx).Error(undone, messageCleanupFailed, logkeys.Volume, current.VolumeID)
		}
	}()
	if err := volume.ValidateFiles(response.GetFiles()); err != nil {
		return err
	}
	current.Leases, current.Revision = response.GetLeases(), response.GetRevision()
	current.DataDir, current.RefreshedAt, current.Complete = d.store.NewDataDir(), d.now(), true
	bytes := volume.SizeOf(response.GetFiles(), current)
	if err := memory.Resize(bytes); err != nil {
		d.needs.Add(current.VolumeID, bytes, needFor)
		return err
	}
	d.needs.Remove(current.VolumeID)
	// What was answered is written, whoever still waits for it.
	err = d.write(dir, current, wanted, response) //nolint:contextcheck // see above
	if err != nil {
		return fault.In(err, "writing the files of the volume")
	}
	if err := d.store.MountForPod(dir, current.TargetPath); err != nil {
		return err
	}
	v := volume.New(current.VolumeID, dir, wanted.token, memory)
	v.Recorded(current)
	v.TokenStored(wanted.token)
	v.SetChangeKeys(response.GetChangeKeys())
	v.SetGrant(response.GetGrant())
	d.volumes.Put(v)
	d.refresher.Next(v, response)
	return nil
}

// reserve takes the memory that the volume needs at least, before anybody is asked for it: what a full node made Vault
// issue would be revoked at once, at every try.
func (d *Driver) reserve(wanted volume.State) (*volume.Reservation, error) {
	bytes := volume.SizeOf(nil, wanted)
	if remembered, ok := d.needs.Get(wanted.VolumeID); ok {
		if needed, isSize := remembered.(int64); isSize {
			bytes = needed
		}
	}
	return d.budget.ReserveVolume(wanted.Pod, bytes)
}

// clear removes what an unpublish that failed, or a publish whose undoing failed, may have left of the volume.
func (d *Driver) clear(ctx context.Context, id, dir, target string) error {
	left, err := volume.ReadState(dir)
	if err != nil {
		logr.FromContextOrDiscard(ctx).Error(err, messageInspectFailed, logkeys.Volume, id)
	}
	d.revokeLeases(ctx, id, left)
	if err := d.store.Remove(dir, target); err != nil {
		return fault.In(err, "clearing what is left of the volume")
	}
	d.forget(id)
	return nil
}

// write makes the volume in dir, with its state and its files.
func (d *Driver) write(
	dir string, state volume.State, wanted publication, response *resolverv1.ResolveResponse,
) error {
	if err := d.store.Create(dir, wanted.selinuxContext, state); err != nil {
		return err
	}
	owner := volume.Ownership{User: response.Owner, Group: state.Group}
	if _, err := d.store.WriteFiles(dir, state.DataDir, owner, response.GetFiles()); err != nil {
		return err
	}
	return d.store.WriteToken(dir, wanted.token)
}
