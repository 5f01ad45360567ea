package lease

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// sweepPause is the pause between two looks at volumes that did not come back.
	sweepPause = time.Minute
	// awaitedFor is how long a volume has for it. Nothing is taken from it then, unless its pod is gone.
	awaitedFor = 2 * time.Minute
	// maxDebts bounds the memory for what could not be given back yet. Beyond it leases are left to their own end.
	maxDebts = 10_000
)

// awaited are secrets that were handed out, and not seen again yet: the answer may not have reached the node, or the node plugin was killed
// before it wrote them down. The volume's next request tells. If this process ends first, their leases run out.
type awaited struct {
	mu      sync.Mutex
	volumes map[string]*waiting
	// debts are what nobody has and could not be given back yet.
	debts []debt
}

// debt is a lease to give back.
type debt struct {
	// namespace of the pod that it was made for.
	namespace string
	holding   Holding
}

// Format prints nothing of it, for every verb.
func (d debt) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "lease [redacted]") }

type waiting struct {
	volume   Volume
	since    time.Time
	holdings []Holding
}

// Format prints whose it is and no more, for every verb: fmt does not ask what it holds.
func (w waiting) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "%d awaited leases of volume %s", len(w.holdings), w.volume.ID)
}

// take returns those that are awaited of a volume and that which accepts, and awaits them no longer.
func (a *awaited) take(v Volume, which func(Holding) bool) []Holding {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := a.volumes[v.key()]
	if of == nil {
		return nil
	}
	var taken, left []Holding
	for _, h := range of.holdings {
		if which(h) {
			taken = append(taken, h)
		} else {
			left = append(left, h)
		}
	}
	if of.holdings = left; len(left) == 0 {
		delete(a.volumes, v.key())
	}
	return taken
}

// owe remembers what could not be given back, if there is room.
func (a *awaited) owe(d debt) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.debts) >= maxDebts {
		return false
	}
	a.debts = append(a.debts, d)
	return true
}

func (a *awaited) takeDebts() []debt {
	a.mu.Lock()
	defer a.mu.Unlock()
	debts := a.debts
	a.debts = nil
	return debts
}

func (a *awaited) add(v Volume, holdings []Holding, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := a.volumes[v.key()]
	if of == nil {
		of = &waiting{volume: v}
		a.volumes[v.key()] = of
	}
	of.since, of.holdings = now, append(of.holdings, holdings...)
}

// older returns the volumes that are awaited since before a time.
func (a *awaited) older(than time.Time) []waiting {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []waiting
	for _, of := range a.volumes {
		if of.since.Before(than) {
			found = append(found, *of)
		}
	}
	return found
}

// Await remembers what was made for a volume until the volume comes with it.
func (k *Keeper) Await(l *Ledger, made []Made) {
	var holdings []Holding
	for _, m := range made {
		if h := m.holding(k.clock.Now()); h.LeaseID != "" {
			holdings = append(holdings, h)
		}
	}
	if len(holdings) > 0 {
		leases.WithLabelValues(actionMade).Add(float64(len(holdings)))
		k.awaited.add(l.Volume, holdings, k.clock.Now())
	}
}

// Settle gives back what was made for the volume earlier and is not in the ledger that it brings: it never got there.
func (k *Keeper) Settle(ctx context.Context, l *Ledger) {
	for _, h := range k.awaited.take(l.Volume, func(Holding) bool { return true }) {
		if !l.has(h.ID) {
			k.giveBack(ctx, debt{namespace: l.Volume.Namespace, holding: h})
		}
	}
}

// Start gives back what was made for pods that are gone and never came with it, until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	ticker := time.NewTicker(sweepPause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			k.sweep(ctx)
		}
	}
}

// NeedLeaderElection tells the manager to run Start in every replica.
func (k *Keeper) NeedLeaderElection() bool { return false }

func (k *Keeper) sweep(ctx context.Context) {
	now := k.clock.Now()
	k.renewals.forget(now)
	for _, of := range k.awaited.older(now.Add(-awaitedFor)) {
		live := false
		for _, h := range of.holdings {
			live = live || !h.expired(now)
		}
		if live && !k.podGone(ctx, of.volume) {
			continue // the node may be cut off, and the pod uses them
		}
		// Only these: the volume may have come back meanwhile, and others been made for it.
		seen := func(h Holding) bool {
			return slices.ContainsFunc(of.holdings, func(s Holding) bool { return s.ID == h.ID })
		}
		for _, h := range k.awaited.take(of.volume, seen) {
			k.giveBack(ctx, debt{namespace: of.volume.Namespace, holding: h})
		}
	}
	debts := k.awaited.takeDebts()
	for i, d := range debts {
		if !k.giveBack(ctx, d) { // Vault is away; a minute later, again
			for _, rest := range debts[i+1:] {
				k.awaited.owe(rest)
			}
			return
		}
	}
}
