package resolver

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/vault/secrets"
)

const (
	// failureTTL is how long refreshing volumes share a failure, so that a Vault which is down gets one request per
	// secret and not one per volume. Mounts never see a remembered failure.
	failureTTL = 2 * time.Second
	// idleTTL is how long a secret that nobody asks for is remembered.
	idleTTL = time.Hour
	// earlySlack lets a volume that comes a moment early join the read that is due.
	earlySlack = 50 * time.Millisecond
)

// versionCache remembers, per distinct secret, when it was last read and which version it had, so that one read per
// refresh interval serves every volume that mounts it. Every volume is told to come back when the interval since that
// read ends; the first to come reads, the others find the new version. It keeps no value: of a secret without versions
// it keeps a keyed digest, whose key is made at start and never leaves memory, to see that it changed. LRUExpireCache
// does not do: an entry lives as long as it is asked for, and one that is dropped for want of room would let volumes
// join a read that began before a change.
type versionCache struct {
	clock    clock.PassiveClock
	instance string
	key      []byte

	mu       sync.Mutex
	sequence int
	entries  map[string]*versionEntry
	swept    time.Time
}

type versionEntry struct {
	path string
	// changes are how often Sallyport changed it.
	changes  int
	readAt   time.Time
	version  contentVersion
	digest   []byte
	sequence int
	failure  error
	failedAt time.Time
	usedAt   time.Time
}

func newVersionCache(clk clock.PassiveClock) *versionCache {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // crypto/rand never fails: it ends the program instead
	return &versionCache{
		clock: clk, instance: rand.Text(), key: key, entries: map[string]*versionEntry{}, swept: clk.Now(),
	}
}

// Get returns what is known of a secret, and whether that is recent enough for a caller with this interval.
func (c *versionCache) Get(key string, interval time.Duration) (version contentVersion, fresh bool, failure error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	entry := c.entries[key]
	if entry == nil {
		return "", false, nil
	}
	entry.usedAt = now
	if entry.failure != nil && now.Sub(entry.failedAt) < failureTTL {
		return "", true, entry.failure
	}
	if entry.version == "" || now.Sub(entry.readAt) >= interval-earlySlack {
		return "", false, nil
	}
	return entry.version, true, nil
}

// BeginRead names a read of the secret at path that begins now. Reads have the same name while the secret was not
// changed between them.
func (c *versionCache) BeginRead(key, path string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entry(key)
	entry.path, entry.usedAt = path, c.clock.Now()
	return key + "#" + strconv.Itoa(entry.changes)
}

// Record remembers a read that was started at the given time and returns the version of its content.
func (c *versionCache) Record(key string, secret *secrets.Secret, started time.Time) contentVersion {
	version, digest := numberedVersion(secret), []byte(nil)
	if secret.Version == 0 {
		digest = c.digest(secret)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entry(key)
	if digest != nil {
		if !bytes.Equal(digest, entry.digest) {
			c.sequence++ // one for all, so that a number never comes again, not even for a secret that was forgotten meanwhile
			entry.sequence, entry.digest = c.sequence, digest
		}
		version = sequencedVersion(c.instance, entry.sequence)
	}
	if !started.Before(entry.readAt) {
		entry.readAt, entry.version = started, version
	}
	entry.failure, entry.usedAt = nil, c.clock.Now()
	c.sweep()
	return version
}

// RecordFailure remembers that a read failed.
func (c *versionCache) RecordFailure(key string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entry(key)
	entry.failure, entry.failedAt, entry.usedAt = err, c.clock.Now(), c.clock.Now()
	c.sweep()
}

// Invalidate makes the next caller read the secrets at a path, through whatever VaultConfig. A read that is under way
// may have come too early, so its version does not count, and nobody joins it any more.
func (c *versionCache) Invalidate(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, entry := range c.entries {
		if entry.path == path {
			entry.readAt, entry.version = c.clock.Now(), ""
			entry.changes++
		}
	}
}

// NextRead is the time until the next read of a secret is due for a caller with this interval.
func (c *versionCache) NextRead(key string, interval time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entries[key]
	if entry == nil || entry.readAt.IsZero() {
		return interval
	}
	return entry.readAt.Add(interval).Sub(c.clock.Now())
}

// entry returns what is remembered of a secret, and begins to remember it. The caller holds the lock.
func (c *versionCache) entry(key string) *versionEntry {
	if c.entries[key] == nil {
		c.entries[key] = &versionEntry{}
	}
	return c.entries[key]
}

// sweep forgets idle secrets. The caller holds the lock.
func (c *versionCache) sweep() {
	now := c.clock.Now()
	if now.Sub(c.swept) < idleTTL {
		return
	}
	c.swept = now
	for key, entry := range c.entries {
		if now.Sub(entry.usedAt) >= idleTTL {
			delete(c.entries, key)
		}
	}
}

func (c *versionCache) digest(secret *secrets.Secret) []byte {
	mac := hmac.New(sha256.New, c.key)
	// Maps are encoded in the order of their keys, so equal secrets have equal encodings.
	_ = json.NewEncoder(mac).Encode(secret.Data)
	return mac.Sum(nil)
}
