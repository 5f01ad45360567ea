package outage

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

// Identity is as whom a secret was read.
type Identity struct {
	// Config and Generation of the VaultConfig: with any edit it is another identity.
	Config     types.UID
	Generation int64
	// Workload is the service account that logged in, as namespace/name; empty: the VaultConfig's own identity.
	Workload string
}

// Key names a secret by what is known of it without Vault.
type Key struct {
	Identity
	// Namespace that uses the VaultConfig. What one made be read is not for another.
	Namespace string
	// Location of the secret, as it is written.
	Location string
}

// Read is a secret that was read. It redacts itself.
type Read struct {
	Secret *secrets.Secret
	// Credential that the login was made with, by its fingerprint; zero where none is stored.
	Credential [sha256.Size]byte
	// Path and KV2Engine are what Vault said of the secret, and Place where its changes are told.
	Path, KV2Engine, Place string
	// Revision is the secret's part of a volume's revision, without its version.
	Revision string
	// Started is when the read began.
	Started time.Time
}

// Format prints the path and what Secret shows of itself, for every verb.
func (r Read) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.Path+" [redacted]") }

// Whole stands for all keys of a secret. No reference names a key without a name.
const Whole = ""

// Memory is safe for concurrent use.
type Memory struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	entries *shares.Cache[Key, *entry]
	// changed is when Sallyport last changed a secret, by its place, and allChanged the same of all others: a read that
	// began before may have come too early.
	changed    map[string]time.Time
	allChanged time.Time
	// sweep drops what has had its time, at the moment sweepAt; nil while there is nothing to drop. One timer for all: of
	// one for each read, a day's would be there at once.
	sweep   *time.Timer
	sweepAt time.Time
	// background is that of the timer: what is dropped has no caller.
	background context.Context //nolint:containedctx // no request is cancelled with it
}

type entry struct {
	Read
	// wanted keys, and until when each is kept for who wanted it last.
	wanted map[string]time.Time
	until  time.Time
	// refused: nothing is remembered, and no read counts that began before.
	refused bool
}

const (
	// entryPrice is for an entry beside its secret and its strings, wantedPrice for a key beside its name.
	entryPrice  = 1024
	wantedPrice = 64
	// late is how long a read may be under way that began before a refusal or a change.
	late = time.Minute
	// maxChanged bounds the places that are remembered of changes.
	maxChanged = 1024
	// sweepPause is the shortest time between two looks at what has had its time.
	sweepPause = time.Second
)

// New returns an empty Memory.
func New(clk clock.PassiveClock) *Memory {
	return &Memory{
		clock: clk, background: context.Background(), changed: map[string]time.Time{},
		entries: shares.NewCache[Key, *entry](heap.Outage, heap.OutageShare),
	}
}

// Keep remembers the wanted keys of a secret until a moment, in place of an older read. Keys that were wanted of that
// are kept of this one too: others read it for other references, and all of them come to know the newest.
func (m *Memory) Keep(key Key, read Read, wanted []string, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	former, known := m.entries.Get(key)
	if !now.Before(until) || read.Started.Before(m.allChanged) || read.Started.Before(m.changed[read.Place]) ||
		known && former.Started.After(read.Started) {
		return
	}
	next := &entry{Read: read, wanted: map[string]time.Time{}, until: until}
	if known {
		maps.Copy(next.wanted, former.wanted)
		maps.DeleteFunc(next.wanted, func(_ string, end time.Time) bool { return !now.Before(end) })
	} else { // perhaps since the VaultConfig was edited: what was read through the former one nobody gets any more
		m.entries.RemoveFunc(func(k Key, _ *entry) bool { return k.Config == key.Config && k.Generation < key.Generation })
	}
	for _, name := range wanted {
		next.wanted[name] = until
	}
	kept := *read.Secret
	kept.Data = make(map[string]any, len(next.wanted))
	for name, value := range read.Secret.Data {
		if !next.wanted[Whole].IsZero() || !next.wanted[name].IsZero() {
			kept.Data[name] = value
		}
	}
	next.Secret = &kept
	weight := heap.Of(kept.Data) + entryPrice +
		int64(len(key.Location)+len(key.Workload)+len(read.Path)+len(read.KV2Engine)+len(read.Place)+len(read.Revision))
	for name := range next.wanted {
		weight += int64(wantedPrice + len(name))
	}
	m.entries.Add(key.Namespace, key, next, weight)
	m.sweepBy(until)
}

// sweepBy has what has had its time be dropped at a moment, or before. The caller holds the lock.
func (m *Memory) sweepBy(at time.Time) {
	if m.sweep != nil && !at.Before(m.sweepAt) {
		return
	}
	if m.sweep != nil {
		m.sweep.Stop()
	}
	m.sweepAt = at
	m.sweep = time.AfterFunc(max(at.Sub(m.clock.Now()), sweepPause), fault.Guarded(m.background, m.dropExpired))
}

func (m *Memory) dropExpired() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	var next time.Time
	m.entries.RemoveFunc(func(_ Key, e *entry) bool {
		if !now.Before(e.until) {
			return true
		}
		if next.IsZero() || e.until.Before(next) {
			next = e.until
		}
		return false
	})
	if m.sweep != nil { // another one, if this was about to be put off
		m.sweep.Stop()
		m.sweep = nil
	}
	if !next.IsZero() {
		m.sweepBy(next)
	}
}

// Recall returns what is remembered of a secret, if that is all that is wanted of it.
func (m *Memory) Recall(key Key, wanted []string) (Read, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept, known := m.entries.Get(key)
	if !known || kept.refused || !m.clock.Now().Before(kept.until) {
		return Read{}, false
	}
	for _, name := range wanted {
		if kept.wanted[name].IsZero() && kept.wanted[Whole].IsZero() {
			return Read{}, false
		}
	}
	return kept.Read, true
}

// Forget drops what is remembered of a secret: it was refused. A read of it that is under way counts no more.
func (m *Memory) Forget(key Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse(key)
}

// ForgetIdentity drops all that was read as somebody who is refused now, whoever had it read.
func (m *Memory) ForgetIdentity(refused Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []Key
	m.entries.Each(func(key Key, _ *entry) {
		if key.Config == refused.Config && key.Workload == refused.Workload {
			keys = append(keys, key)
		}
	})
	for _, key := range keys {
		m.refuse(key)
	}
}

// refuse puts a refusal in the place of what is remembered. The caller holds the lock.
func (m *Memory) refuse(key Key) {
	now := m.clock.Now()
	m.entries.Add(key.Namespace, key, &entry{Read: Read{Started: now}, until: now.Add(late), refused: true},
		entryPrice+int64(len(key.Location)+len(key.Workload)))
	m.sweepBy(now.Add(late))
}

// ForgetConfig drops all that was read through a VaultConfig: it is gone.
func (m *Memory) ForgetConfig(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries.RemoveFunc(func(key Key, _ *entry) bool { return key.Config == uid })
}

// ForgetPlace drops what is remembered of the secret at a place: Sallyport has changed it.
func (m *Memory) ForgetPlace(place string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	if len(m.changed) >= maxChanged {
		maps.DeleteFunc(m.changed, func(_ string, at time.Time) bool { return now.Sub(at) > late })
	}
	if len(m.changed) >= maxChanged {
		m.allChanged = now
		clear(m.changed)
	}
	m.changed[place] = now
	m.entries.RemoveFunc(func(_ Key, e *entry) bool { return e.Place == place })
}
