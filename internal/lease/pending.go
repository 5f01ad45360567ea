package lease

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// sweepInterval is the pause between two looks at volumes that did not come back.
	sweepInterval = time.Minute
	// pendingTimeout is how long a volume has to come back. Nothing is taken from it then, unless its pod is gone.
	pendingTimeout = 2 * time.Minute
)

// pendingLeases were handed over and have not come back with a request yet: the response may not have reached the node,
// or the node plugin was killed before it wrote them down. The volume's next request tells. If this process ends first,
// they expire. LRUExpireCache does not do: what it drops, by age or for want of room, would never be revoked.
type pendingLeases struct {
	mu      sync.Mutex
	volumes map[string]*pendingVolume
}

type pendingVolume struct {
	volume Volume
	since  time.Time
	leases []Lease
}

// Format prints whose they are and no more, for every verb: fmt does not ask what it holds.
func (p pendingVolume) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "%d pending leases of volume %s", len(p.leases), p.volume.ID)
}

// take removes the pending leases of a volume that match, and returns them.
func (p *pendingLeases) take(v Volume, matches func(Lease) bool) []Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.volumes[v.key()]
	if of == nil {
		return nil
	}
	var taken, left []Lease
	for _, l := range of.leases {
		if matches(l) {
			taken = append(taken, l)
		} else {
			left = append(left, l)
		}
	}
	if of.leases = left; len(left) == 0 {
		delete(p.volumes, v.key())
	}
	return taken
}

func (p *pendingLeases) add(v Volume, leases []Lease, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.volumes[v.key()]
	if of == nil {
		of = &pendingVolume{volume: v}
		p.volumes[v.key()] = of
	}
	of.since, of.leases = now, append(of.leases, leases...)
}

// before returns the volumes whose leases have been pending since before a time.
func (p *pendingLeases) before(limit time.Time) []pendingVolume {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []pendingVolume
	for _, of := range p.volumes {
		if of.since.Before(limit) {
			found = append(found, *of)
		}
	}
	return found
}

// TrackPending remembers what was issued for a volume until the volume comes with it.
func (m *Manager) TrackPending(v *VolumeLeases, issued []DynamicSecret) {
	var pending []Lease
	for _, d := range issued {
		if l := d.lease(m.clock.Now()); l.LeaseID != "" {
			pending = append(pending, l)
		}
	}
	if len(pending) > 0 {
		leases.WithLabelValues(actionMade).Add(float64(len(pending)))
		m.pending.add(v.Volume, pending, m.clock.Now())
	}
}

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
