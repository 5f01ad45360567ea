package node

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// The resolver says when to ask again; these bound it against nonsense.
	refreshMin     = time.Second
	refreshMax     = 24 * time.Hour
	refreshDefault = time.Minute

	refreshBackoffMin = 5 * time.Second
	refreshBackoffMax = 20 * time.Second

	// refreshSoon spreads the questions of all volumes that get their first token after a restart of the plugin.
	refreshSoon = 5 * time.Second
)

// refreshDelay is when to ask again after this answer. Nothing random is added: the resolver gives volumes with the same
// secrets the same moment, so that one read in Vault serves them all.
func refreshDelay(response *resolverv1.ResolveResponse) time.Duration {
	milliseconds := response.GetRefreshAfterMs()
	switch {
	case milliseconds <= 0:
		return refreshDefault
	case milliseconds >= refreshMax.Milliseconds():
		return refreshMax
	default:
		return max(time.Duration(milliseconds)*time.Millisecond, refreshMin)
	}
}

// schedule sets the time of the volume's next refresh.
func (d *Driver) schedule(v *volume, after time.Duration) {
	v.mu.Lock()
	if v.changed {
		after = 0
	}
	v.due, v.waiting = d.now().Add(after), false
	v.mu.Unlock()
	d.due.AddAfter(v.id, after)
}

// giveToken takes a new token; a volume that waited for one is refreshed soon.
func (d *Driver) giveToken(v *volume, token podToken) {
	v.mu.Lock()
	v.token = token
	waited := v.waiting
	v.mu.Unlock()
	if waited && token.usable(d.now()) {
		d.schedule(v, rand.N(refreshSoon))
	}
}

// work has a few workers do what is due, until ctx ends.
func work(ctx context.Context, due workqueue.TypedDelayingInterface[string], do func(ctx context.Context, name string)) {
	var workers sync.WaitGroup
	for range defaultWorkers {
		workers.Go(func() {
			for {
				name, shutdown := due.Get()
				if shutdown {
					return
				}
				do(ctx, name)
				due.Done(name)
			}
		})
	}
	<-ctx.Done()
	due.ShutDown()
	workers.Wait()
}

// refreshVolume asks the resolver whether the volume's files are current, and replaces them if not. Whatever fails, the
// files of the last good answer stay.
func (d *Driver) refreshVolume(ctx context.Context, id string) {
	v := d.volumes.get(id)
	if v == nil || ctx.Err() != nil {
		return
	}
	if wait := d.untilDue(v); wait > 0 {
		// Woken by an older entry of the queue.
		d.due.AddAfter(id, wait)
		return
	}
	current, token, ok := v.startRefresh(d.now())
	if !ok {
		return
	}
	// Without the lock: a slow resolver must not keep the kubelet from unpublishing the volume.
	response, err := d.resolve(ctx, &resolverv1.ResolveRequest{
		PodToken: token.value, WorkloadTokens: token.workload, VolumeAttributes: current.Attributes, VolumeId: current.VolumeID, Revision: current.Revision,
		Leases: current.Leases,
	})
	if err == nil {
		// Whatever was made for the volume is kept, also by a process that is about to stop.
		err = d.apply(context.WithoutCancel(ctx), v, response)
	}
	if v.isClosing() || ctx.Err() != nil {
		return
	}
	d.metrics.refreshed(err)
	logger := logr.FromContextOrDiscard(ctx).WithValues(keyVolume, id, keyPod, current.Pod)
	if err != nil {
		v.setStale(true)
		reason, sentence, _ := answer(err)
		delay := jitter(d.backoff.When(id))
		logger.Info(messageRefreshFailed, keyReason, reason, keySentence, sentence, keyRetryAfter, delay)
		d.schedule(v, delay)
		return
	}
	v.setStale(false)
	d.backoff.Forget(id)
	if !response.GetUnchanged() {
		logger.Info(messageRefreshed)
	}
	d.schedule(v, refreshDelay(response))
}

// apply brings the volume to what the resolver answered.
func (d *Driver) apply(ctx context.Context, v *volume, response *resolverv1.ResolveResponse) error {
	unlock, err := d.locks.lock(ctx, v.id)
	if err != nil {
		return err
	}
	defer unlock()
	current, _ := v.snapshot()
	if v.isClosing() {
		// Unpublish gave back what the volume had before this answer.
		d.giveBack(ctx, current.Pod, response.GetLeases())
		return nil
	}
	unchanged := response.GetUnchanged() && current.Revision != ""
	if current, err = d.keepLeases(v, response.GetLeases(), !unchanged); err != nil {
		return err
	}
	if !unchanged {
		if response.GetUnchanged() {
			return fault.Transient(v1alpha1.ReasonInternal, "the resolver called files unchanged that it was not told of")
		}
		if err := d.replace(v, response.GetFiles(), &current); err != nil {
			return err
		}
		current.Revision = response.GetRevision()
	}
	v.setTopics(response.GetTopics())
	current.RefreshedAt = d.now()
	if err := d.writeState(v.dir, current); err != nil {
		return fault.In(err, "recording the refresh")
	}
	v.mu.Lock()
	v.state, v.unrecorded = current, false
	v.mu.Unlock()
	return nil
}

// replace swaps the volume's files. The caller holds the volume's lock.
func (d *Driver) replace(v *volume, files []*resolverv1.File, current *state) error {
	if err := checkFiles(files); err != nil {
		return err
	}
	// Only the growth: both generations exist for a moment, but no more of them than there are workers.
	bytes := volumeBytes(files, current.Leases)
	v.mu.Lock()
	growth := bytes - v.bytes
	v.mu.Unlock()
	if err := d.budget.reserve(growth); err != nil {
		return err
	}
	dataDir, err := d.projection(v.dir, current.Group).write(files, d.now())
	if err != nil {
		_ = d.budget.reserve(-growth)
		return fault.In(err, "writing the files of the volume")
	}
	current.DataDir = dataDir
	v.mu.Lock()
	v.bytes = bytes
	v.mu.Unlock()
	return nil
}

func (d *Driver) untilDue(v *volume) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.due.Sub(d.now())
}

// startRefresh returns what a refresh works with. Without a usable token there is none: the kubelet's next republish
// brings one within about 90 seconds.
func (v *volume) startRefresh(now time.Time) (state, podToken, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closing || v.waiting {
		return state{}, podToken{}, false
	}
	v.waiting, v.changed = !v.token.usable(now), false
	return v.state, v.token, !v.waiting
}

func (v *volume) setStale(stale bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stale = stale
}

// jitter spreads the retries of volumes that failed together.
func jitter(delay time.Duration) time.Duration {
	return delay/2 + rand.N(delay)
}
