package lease

import (
	"fmt"
	"sync"
	"time"

	"sallyport.dev/sallyport/internal/shares"
)

const (
	// maxPending bounds the leases that are pending, and maxPendingOfNamespace those of one namespace's pods: a tenth,
	// so that one tenant leaves the others room. At less than a kilobyte each they take some 16 MB at most.
	maxPending            = 20_000
	maxPendingOfNamespace = maxPending / 10
)

// pendingLeases were handed over and have not come back with a request yet: the response may not have reached the node,
// or the node plugin was killed before it wrote them down. The volume's next request tells. If this process ends first,
// they expire; so does what there was no room to remember, if it never reaches its volume. LRUExpireCache does not do:
// what it drops, by age or for want of room, would never be revoked.
type pendingLeases struct {
	mu      sync.Mutex
	volumes map[string]*pendingVolume
	counts  shares.Counts[string] // leases, by namespace
}

type pendingVolume struct {
	volume Volume
	since  time.Time
	leases []Lease
}

func newPendingLeases() *pendingLeases {
	return &pendingLeases{
		volumes: map[string]*pendingVolume{}, counts: shares.NewCounts[string](maxPending, maxPendingOfNamespace),
	}
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
	p.counts.Give(of.volume.Namespace, len(taken))
	if of.leases = left; len(left) == 0 {
		delete(p.volumes, v.key())
	}
	return taken
}

// add remembers leases, and returns how many of them there was no room for.
func (p *pendingLeases) add(v Volume, leases []Lease, now time.Time) (forgotten int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.volumes[v.key()]
	for _, l := range leases {
		if !p.counts.Take(v.Namespace) {
			forgotten++
			continue
		}
		if of == nil {
			of = &pendingVolume{volume: v}
			p.volumes[v.key()] = of
		}
		of.since, of.leases = now, append(of.leases, l)
	}
	return forgotten
}

// length is how many leases are pending.
func (p *pendingLeases) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts.All()
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
