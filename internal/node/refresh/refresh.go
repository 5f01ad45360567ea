package refresh

import (
	"context"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/node/logkeys"
	"sallyport.dev/sallyport/internal/node/schedule"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/tracing"
)

// What a refresh logs.
const (
	messageRefreshed = "Volume refreshed"
	messageFailed    = "Volume not refreshed, its files stay as they are"
)

// work returns the refresh of a volume. Volumes with leases, which lapse if nobody asks in time, come first, and last
// those that failed: what asks a Vault in vain waits behind what does not.
func (r *Refresher) work(id string) (schedule.Work, bool) {
	v := r.Volumes.Get(id)
	if v == nil {
		return schedule.Work{}, false
	}
	if wait := v.UntilDue(r.Clock.Now()); wait > 0 {
		// Woken by an older entry of the queue.
		r.due.AddAfter(id, wait)
		return schedule.Work{}, false
	}
	current, _ := v.Snapshot()
	rank := schedule.Second
	if _, stale := v.Stale(); stale {
		rank = schedule.Last
	} else if len(current.Leases) > 0 {
		rank = schedule.First
	}
	return schedule.Work{
		Owner: current.Pod.Namespace, Rank: rank, Do: func(ctx context.Context) { r.refresh(ctx, v) },
	}, true
}

// refresh asks the resolver whether the volume's files are current, and replaces them if not. Whatever fails, the files
// of the last good response stay.
func (r *Refresher) refresh(ctx context.Context, v *volume.Volume) {
	if ctx.Err() != nil {
		return
	}
	current, token, ok := v.StartRefresh(r.Clock.Now())
	if !ok {
		return
	}
	logger := logr.FromContextOrDiscard(ctx).WithValues(logkeys.Volume, v.ID, logkeys.Pod, current.Pod)
	ctx, span := tracing.Start(ctx, tracing.Internal, "refresh")
	span.Set(tracing.Namespace, current.Pod.Namespace)
	span.Set(tracing.Pod, current.Pod.Name)
	span.Set(tracing.Connection, current.Attributes[v1alpha1.AttributeConnection])
	ctx, done := r.Answers.Hold(ctx)
	defer done()
	// Without the lock: a slow resolver must not keep the kubelet from unpublishing the volume.
	var response *resolverv1.ResolveResponse
	err := fault.Guard(logr.NewContext(ctx, logger), func() (err error) {
		response, err = r.Resolver.ResolveTogether(ctx, &resolverv1.ResolveRequest{
			PodToken: token.Value, WorkloadTokens: token.Workload, VolumeAttributes: current.Attributes,
			VolumeId: current.VolumeID, Revision: current.Revision, Leases: current.Leases, KeepsFiles: true,
			Grant: v.Grant(), TraceParent: tracing.Parent(ctx),
		})
		if err != nil {
			return err
		}
		v.SetGrant(response.GetGrant())
		// Whatever was made for the volume is kept, also by a process that is about to stop.
		return r.apply(context.WithoutCancel(ctx), v, response)
	})
	span.End(err)
	if v.Closing() || ctx.Err() != nil {
		return
	}
	r.Observe(err)
	v.SetStale(err != nil)
	if err != nil {
		f := fault.From(err)
		retryAfter := r.due.Backoff(v.ID)
		logger.Info(messageFailed,
			logkeys.Reason, f.Reason, logkeys.Sentence, f.Message(), logkeys.RetryAfter, retryAfter)
		r.schedule(v, retryAfter)
		if v.Closing() {
			// Unpublish may have forgotten it before it was counted.
			r.due.Forget(v.ID)
		}
		return
	}
	r.due.Forget(v.ID)
	if !response.GetUnchanged() {
		logger.Info(messageRefreshed)
	}
	r.Next(v, response)
}

// apply brings the volume to what the resolver answered.
func (r *Refresher) apply(ctx context.Context, v *volume.Volume, response *resolverv1.ResolveResponse) error {
	unlock, err := r.Locks.Lock(ctx, v.ID)
	if err != nil {
		return err
	}
	defer unlock()
	current, _ := v.Snapshot()
	if v.Closing() {
		// Unpublish has what the volume had before this response revoked.
		r.Revocations.Enqueue(ctx, current.Pod, response.GetLeases())
		return nil
	}
	unchanged := response.GetUnchanged() && current.Revision != ""
	if current, err = r.replaceLeases(v, response.GetLeases(), !unchanged); err != nil {
		return err
	}
	if !unchanged {
		if response.GetUnchanged() {
			return fault.Transient(v1alpha1.ReasonInternal, "the resolver called files unchanged that it was not told of")
		}
		// What was answered is written, whoever still waits for it.
		err = r.replaceFiles(v, response, &current) //nolint:contextcheck // see above
		if err != nil {
			return err
		}
		current.Revision = response.GetRevision()
	}
	v.SetChangeKeys(response.GetChangeKeys())
	current.RefreshedAt = r.Clock.Now()
	if err := r.Store.WriteState(v.Dir, current); err != nil {
		return fault.In(err, "recording the refresh")
	}
	v.Recorded(current)
	return r.storeToken(v)
}

// storeToken puts the token that the kubelet gave last beside the volume. The caller holds the volume's lock.
func (r *Refresher) storeToken(v *volume.Volume) error {
	token, differs := v.TokenToStore()
	if !differs {
		return nil
	}
	if err := r.Store.WriteToken(v.Dir, token); err != nil {
		return fault.In(err, "recording the pod's token")
	}
	v.TokenStored(token)
	return nil
}

// replaceLeases takes over the leases of a response, in place of all that the volume had. With record they are in the
// written state when it returns: so they are before files are touched, and whoever finds the volume after a kill finds
// with it all that was made for it. Without, the caller writes the state that it returns. The caller holds the volume's
// lock.
func (r *Refresher) replaceLeases(v *volume.Volume, fresh volume.EncryptedLeases, record bool) (volume.State, error) {
	current, recorded := v.ReplaceLeases(fresh)
	if recorded || !record {
		return current, nil
	}
	if err := r.Store.WriteState(v.Dir, current); err != nil {
		return current, fault.In(err, "recording the leases of the volume")
	}
	v.Recorded(current)
	return current, nil
}

// replaceFiles swaps the volume's files. The caller holds the volume's lock.
func (r *Refresher) replaceFiles(v *volume.Volume, response *resolverv1.ResolveResponse, current *volume.State) error {
	files := response.GetFiles()
	if err := volume.ValidateFiles(files); err != nil {
		return err
	}
	if err := r.Store.ReadKept(v.Dir, files); err != nil {
		current.Revision = "" // so that the next response brings all of them
		v.Recorded(*current)
		return err
	}
	// The former files are there until the new ones are.
	before, after := v.Memory.Bytes(), volume.SizeOf(files, *current)
	if err := v.Memory.Resize(max(before, after)); err != nil {
		return err
	}
	owner := volume.Ownership{User: response.Owner, Group: current.Group}
	dataDir, err := r.Store.WriteFiles(v.Dir, r.Store.NewDataDir(), owner, files)
	if err != nil {
		v.Memory.Charge(before - v.Memory.Bytes())
		return fault.In(err, "writing the files of the volume")
	}
	current.DataDir = dataDir
	v.Memory.Charge(after - v.Memory.Bytes())
	return nil
}
