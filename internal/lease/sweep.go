package lease

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"

	"sallyport.dev/sallyport/internal/fault"
)

const (
	// sweepInterval is the pause between two looks at volumes that did not come back, and at lanes of the revocation
	// queue whose Vault was away.
	sweepInterval = time.Minute
	// pendingTimeout is how long a volume has to come back. Nothing is taken from it then, unless its pod is gone.
	pendingTimeout = 2 * time.Minute
	// apiTimeout bounds a question to the Kubernetes API, and maxPodReads how many pods are looked at together.
	apiTimeout  = 5 * time.Second
	maxPodReads = 16
	// stopTimeout bounds what is still revoked when the process ends.
	stopTimeout = 5 * time.Second
)

// Start revokes what was issued for pods that are gone and never came with it, until ctx ends.
func (m *Manager) Start(ctx context.Context) error {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			m.finish(context.WithoutCancel(ctx))
			return nil
		case <-ticker.C:
			m.sweep(ctx)
		}
	}
}

// NeedLeaderElection tells the manager to run Start in every replica.
func (m *Manager) NeedLeaderElection() bool { return false }

// sweep queues the leases of volumes that will not come, and has another try at all that is queued. It waits for no
// Vault.
func (m *Manager) sweep(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(maxPodReads)
	for _, of := range m.pending.before(m.clock.Now().Add(-pendingTimeout)) {
		group.Go(func() error {
			return fault.Guard(ctx, func() error {
				m.sweepVolume(ctx, of)
				return nil
			})
		})
	}
	_ = group.Wait()
	m.refreshKeys(ctx)
	m.queue.resume()
	m.queue.work(m.revokeQueued)
}

func (m *Manager) refreshKeys(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	m.encryption.keys.refresh(ctx)
}

func (m *Manager) sweepVolume(ctx context.Context, of pendingVolume) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	now := m.clock.Now()
	live := slices.ContainsFunc(of.leases, func(l Lease) bool { return !l.expired(now) })
	if live && !m.podGone(ctx, of.volume) {
		return // the node may be cut off, and the pod uses them
	}
	// Only these: the volume may have come back meanwhile, and others been issued for it.
	seen := func(l Lease) bool {
		return slices.ContainsFunc(of.leases, func(s Lease) bool { return s.Name == l.Name })
	}
	for _, l := range m.pending.take(of.volume, seen) {
		m.enqueue(revocation{namespace: of.volume.Namespace, lease: l})
	}
}

// finish waits for what is being revoked, for a moment: what is left then expires.
func (m *Manager) finish(ctx context.Context) {
	_ = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, stopTimeout, true,
		func(context.Context) (bool, error) { return !m.queue.busy(), nil })
}
