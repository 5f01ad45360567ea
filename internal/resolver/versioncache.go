package resolver

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

const (
	// failureTTL is how long refreshing volumes share a failure, so that a Vault which is down gets one request per
	// secret and not one per volume. Mounts never see a remembered failure.
	failureTTL = 2 * time.Second
	// idleTTL is how long a secret that nobody asks for is remembered.
	idleTTL = time.Hour
	// changePause is the shortest time between two reads of a secret that says when it changes: Vault may be late with
	// it, or say nonsense.
	changePause = 5 * time.Second
	// earlySlack lets a volume that comes a moment early join the read that is due, and cause it.
	earlySlack = 50 * time.Millisecond
)

// A grid of moments for the next refreshes with the same interval: so many in one interval, but none sooner after
// another than gridMin.
const (
	gridPoints = 16
	gridMin    = time.Second
)

// floorToGrid returns the last point of the grid at or before a moment. The grid is that of the clock, and so the
// same for all secrets, replicas and nodes: volumes of a node that have nothing in common are due at few moments, and
// asked for together at each. Its step divides the interval, so that a read a moment after a point leads to the next
// one exactly an interval later: only the first of a secret comes sooner, by a step at most. There are many points,
// so that Vault has not all secrets read at one.
func floorToGrid(moment time.Time, interval time.Duration) time.Time {
	points := min(max(interval/gridMin, 1), gridPoints)
	step := interval / points
	return moment.Add(-moment.Sub(moment.Truncate(step))) // Truncate alone would lose the monotonic clock
}

// versionCache remembers, per distinct secret, when it was last read and which version it had, so that one read per
// refresh interval serves every volume that mounts it. Every volume is told to come back when the interval since that
// read ends, at the point of the grid before that; the first to come reads, the others find the new version. It keeps
// no value: of a secret without versions it keeps a keyed digest of each field, whose key is made at start and never
// leaves memory, to see that it changed. What finds no room among those of its namespace, the one that asked for it
// first, is read again.
//
// A secret without versions is compared field by field, each Connection by those that its references name: what counts
// down beside them (database/static-creds and its ttl) changes nothing.
type versionCache struct {
	clock    clock.PassiveClock
	instance string
	key      []byte
	seed     maphash.Seed

	mu       sync.Mutex
	sequence int
	entries  *shares.Cache[versionKey, *versionEntry]
	swept    time.Time
}

// versionKey is a digest of what names a secret. There are tens of thousands, and names are long.
type versionKey [sha256.Size]byte

func versionKeyOf(key string) versionKey { return sha256.Sum256([]byte(key)) }

type versionEntry struct {
	namespace string
	// place is a short digest of the path: where two have the same, a change of one has both read.
	place uint64
	// change is another number whenever Sallyport changed it, and when it begins to be remembered: nobody joins a read
	// that began before.
	change int
	readAt time.Time
	// version of a secret that has some, and fields of one that has none.
	version contentVersion
	fields  map[string]versionedField
	usedAt  time.Time
	// rare is nil of nearly all secrets.
	rare *rareFacts
}

// rareFacts are what is remembered of few secrets.
type rareFacts struct {
	// changesAt is when the secret will be another one, as it said itself; zero if it did not.
	changesAt time.Time
	// absence says that the last read found no such secret; version is absentVersion then.
	absence  error
	failure  error
	failedAt time.Time
}

// rarely returns a copy of what few secrets have.
func (e *versionEntry) rarely() rareFacts {
	if e.rare == nil {
		return rareFacts{}
	}
	return *e.rare
}

// setRare sets what few secrets have. Nothing of it takes no memory.
func (e *versionEntry) setRare(facts rareFacts) {
	e.rare = &facts
	if facts.changesAt.IsZero() && facts.absence == nil && facts.failure == nil {
		e.rare = nil
	}
}

// versionedField is what is remembered of a field that some reference names, whether the secret has it or not.
type versionedField struct {
	digest   [sha256.Size]byte
	sequence int
}

// allFields stands for all fields of a secret together. No reference names a field without a name.
const allFields = ""

// maxFields bounds the fields that are remembered of a secret. Beyond it those are forgotten that this caller does not
// want, and read once more.
const maxFields = 4 * 1024

func newVersionCache(clk clock.PassiveClock) *versionCache {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // crypto/rand never fails: it ends the program instead
	return &versionCache{
		clock: clk, instance: rand.Text(), key: key, seed: maphash.MakeSeed(), swept: clk.Now(),
		entries: shares.NewCache[versionKey, *versionEntry](heap.Growing(heap.Versions, heap.VersionsShare)),
	}
}

// Get returns what is known of a secret of which these fields are wanted, and whether that is recent enough for a
// caller with this interval. That there is no such secret is a failure, which only who can do without it need not have
// found out again.
func (c *versionCache) Get(
	key string, wanted []string, interval time.Duration, toleratesAbsence bool,
) (version contentVersion, fresh bool, failure error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	entry, known := c.entries.Get(versionKeyOf(key))
	if !known {
		return "", false, nil
	}
	entry.usedAt = now
	facts := entry.rarely()
	if facts.failure != nil && now.Sub(facts.failedAt) < failureTTL {
		return "", true, facts.failure
	}
	version = c.latest(entry, wanted)
	if version == "" || !now.Before(entry.dueAt(interval).Add(-earlySlack)) || facts.absence != nil && !toleratesAbsence {
		return "", false, nil
	}
	return version, true, facts.absence
}

// dueAt is when the next read is due for a caller with this interval: on the grid, and so for all secrets at few
// moments. Who comes a little early, and is let, has read at the point that was meant.
func (e *versionEntry) dueAt(interval time.Duration) time.Time {
	due := floorToGrid(e.readAt.Add(earlySlack+interval), interval)
	if latest := e.readAt.Add(interval); due.After(latest) {
		due = latest
	}
	if changesAt := e.rarely().changesAt; !changesAt.IsZero() && changesAt.Before(due) {
		return changesAt
	}
	return due
}

// latest is the version of a secret, as far as these fields go; empty if it is not known. The caller holds the lock.
func (c *versionCache) latest(entry *versionEntry, wanted []string) contentVersion {
	if entry.version != "" {
		return entry.version
	}
	return c.fieldVersion(entry, wanted)
}

// fieldVersion is the version of a secret without versions, as far as these fields go; empty if one was never looked
// at.
func (c *versionCache) fieldVersion(entry *versionEntry, wanted []string) contentVersion {
	sequences := make([]int, len(wanted))
	for i, name := range wanted {
		field, known := entry.fields[name]
		if !known {
			return ""
		}
		sequences[i] = field.sequence
	}
	return sequencedVersion(c.instance, sequences)
}

// BeginRead names a read of the secret at path that begins now, for a namespace. Reads have the same name while the
// secret was not changed between them.
func (c *versionCache) BeginRead(namespace, key, path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := versionKeyOf(key)
	entry, known := c.entries.Get(id)
	if !known {
		entry = c.newEntry(namespace)
	}
	entry.place = c.placeOf(path)
	c.keep(id, entry)
	return key + "#" + strconv.Itoa(entry.change)
}

// Record remembers a read that was started at the given time and returns the version of its content, as far as the
// wanted fields go. Everybody who shares the read records it, with what they want of it.
func (c *versionCache) Record(key string, secret *secrets.Secret, wanted []string, started time.Time) contentVersion {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := versionKeyOf(key)
	entry := c.entry(id)
	newest, another := !started.Before(entry.readAt), started.After(entry.readAt)
	version := numberedVersion(secret)
	if secret.Version == 0 {
		version = c.recordFields(entry, secret, wanted, newest, another)
	}
	if newest {
		facts := rareFacts{}
		if secret.ChangesIn > 0 {
			facts.changesAt = started.Add(max(secret.ChangesIn+time.Second, changePause))
		}
		entry.readAt, entry.version = started, ""
		entry.setRare(facts)
		if secret.Version != 0 {
			entry.version, entry.fields = version, nil
		}
	}
	c.keep(id, entry)
	return version
}

// recordFields compares the fields of a secret without versions with what they were. Of the newest read they are
// remembered, and if that is another than the last one, so is every field that somebody else wants. One that is older
// gets a number of its own where it differs, which never comes again. The caller holds the lock.
func (c *versionCache) recordFields(
	entry *versionEntry, secret *secrets.Secret, wanted []string, newest, another bool,
) contentVersion {
	if entry.fields == nil || len(entry.fields)+len(wanted) > maxFields {
		entry.fields = map[string]versionedField{}
	}
	if newest && another {
		for name := range entry.fields {
			c.recordField(entry, secret, name, true)
		}
	}
	sequences := make([]int, len(wanted))
	for i, name := range wanted {
		sequences[i] = c.recordField(entry, secret, name, newest)
	}
	return sequencedVersion(c.instance, sequences)
}

func (c *versionCache) recordField(entry *versionEntry, secret *secrets.Secret, name string, keep bool) int {
	value, found := secret.Data[name]
	digest := c.digest(found, value)
	if name == allFields {
		digest = c.digest(true, secret.Data)
	}
	if field, known := entry.fields[name]; known && field.digest == digest {
		return field.sequence
	}
	c.sequence++ // one for all, so that a number never comes again, not even for a secret that was forgotten meanwhile
	if keep {
		entry.fields[name] = versionedField{digest, c.sequence}
	}
	return c.sequence
}

// RecordFailure remembers that a read failed.
func (c *versionCache) RecordFailure(key string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := versionKeyOf(key)
	entry := c.entry(id)
	facts := entry.rarely()
	facts.failure, facts.failedAt = err, c.clock.Now()
	entry.setRare(facts)
	c.keep(id, entry)
}

// RecordAbsence remembers that a read that was started at the given time found no such secret.
func (c *versionCache) RecordAbsence(key string, absence error, started time.Time) {
	c.RecordFailure(key, absence)
	c.mu.Lock()
	defer c.mu.Unlock()
	id := versionKeyOf(key)
	if entry := c.entry(id); !started.Before(entry.readAt) {
		facts := entry.rarely()
		facts.absence, facts.changesAt = absence, time.Time{}
		entry.readAt, entry.version, entry.fields = started, absentVersion, nil
		entry.setRare(facts)
		c.keep(id, entry)
	}
}

// Invalidate makes the next caller read the secrets at a path, through whatever VaultConfig. A read that is under way
// may have come too early, so its version does not count, and nobody joins it any more.
func (c *versionCache) Invalidate(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	place := c.placeOf(path)
	c.entries.Each(func(_ versionKey, entry *versionEntry) {
		if entry.place == place {
			c.sequence++
			entry.readAt, entry.version, entry.fields, entry.change = c.clock.Now(), "", nil, c.sequence
			entry.setRare(rareFacts{changesAt: entry.rarely().changesAt})
		}
	})
}

func (c *versionCache) placeOf(path string) uint64 { return maphash.String(c.seed, path) }

// Outdated tells whether another version of a secret, as far as these fields go, is known than this one.
func (c *versionCache) Outdated(key string, wanted []string, version contentVersion) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, known := c.entries.Get(versionKeyOf(key))
	if !known {
		return false
	}
	latest := c.latest(entry, wanted)
	return latest != "" && latest != version
}

// NextRead is the time until the next read of a secret is due for a caller with this interval.
func (c *versionCache) NextRead(key string, interval time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry, known := c.entries.Get(versionKeyOf(key))
	if !known || entry.readAt.IsZero() {
		return c.untilGrid(interval)
	}
	return entry.dueAt(interval).Sub(c.clock.Now())
}

// untilGrid is the time until the last point of the grid within the interval.
func (c *versionCache) untilGrid(interval time.Duration) time.Duration {
	now := c.clock.Now()
	return floorToGrid(now.Add(interval), interval).Sub(now)
}

// entry returns what is remembered of a secret that is being read. If it had to give way meanwhile, what is recorded
// counts for no namespace. The caller holds the lock.
func (c *versionCache) entry(id versionKey) *versionEntry {
	if entry, known := c.entries.Get(id); known {
		return entry
	}
	return c.newEntry("")
}

func (c *versionCache) newEntry(namespace string) *versionEntry {
	c.sequence++
	return &versionEntry{namespace: namespace, place: c.placeOf(""), change: c.sequence}
}

// entryPrice is for an entry beside its fields, rarePrice for what few secrets have, such as why there is none, and
// fieldPrice for a field beside its name.
const (
	entryPrice = 384
	rarePrice  = 1024
	fieldPrice = 128
)

// keep remembers an entry that was made or has changed, and forgets idle ones. The caller holds the lock.
func (c *versionCache) keep(id versionKey, entry *versionEntry) {
	now := c.clock.Now()
	entry.usedAt = now
	weight := entryPrice
	if entry.rare != nil {
		weight += rarePrice
	}
	for name := range entry.fields {
		weight += fieldPrice + len(name)
	}
	c.entries.Add(entry.namespace, id, entry, int64(weight))
	if now.Sub(c.swept) < idleTTL {
		return
	}
	c.swept = now
	c.entries.RemoveFunc(func(_ versionKey, e *versionEntry) bool { return now.Sub(e.usedAt) >= idleTTL })
}

func (c *versionCache) digest(found bool, value any) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, c.key)
	// Maps are encoded in the order of their keys, so equal values have equal encodings.
	_ = json.NewEncoder(mac).Encode([]any{found, value})
	mac.Sum(sum[:0])
	return sum
}
