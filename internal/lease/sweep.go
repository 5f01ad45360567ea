package lease

import (
	"context"
	"slices"
	"time"
)

const (
	// sweepInterval is the pause between two looks at volumes that did not come back.
	sweepInterval = time.Minute
	// pendingTimeout is how long a volume has to come back. Nothing is taken from it then, unless its pod is gone.
	pendingTimeout = 2 * time.Minute
)

// Start revokes what was issued for pods that are gone and never came with it, until ctx ends.
func (m *Manager) Start(ctx context.Context) error {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			m.sweep(ctx)
		}
	}
}

// NeedLeaderElection tells the manager to run Start in every replica.
func (m *Manager) NeedLeaderElection() bool { return false }

func (m *Manager) sweep(ctx context.Context) {
	now := m.clock.Now()
	for _, of := range m.pending.before(now.Add(-pendingTimeout)) {
		live := slices.ContainsFunc(of.leases, func(l Lease) bool { return !l.expired(now) })
		if live && !m.podGone(ctx, of.volume) {
			continue // the node may be cut off, and the pod uses them
		}
		// Only these: the volume may have come back meanwhile, and others been issued for it.
		seen := func(l Lease) bool {
			return slices.ContainsFunc(of.leases, func(s Lease) bool { return s.Name == l.Name })
		}
		for _, l := range m.pending.take(of.volume, seen) {
			m.revokeOrEnqueue(ctx, revocation{namespace: of.volume.Namespace, lease: l})
		}
	}
	m.revokeQueued(ctx)
}
