package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// volume is a published volume.
type volume struct {
	id  string
	dir string

	mu sync.Mutex
	// state is what the file beside the volume says.
	state state
	// bytes are reserved from the budget.
	bytes int64
	// token is the last one that the kubelet gave; empty after a restart until the next republish.
	token podToken
	// due is the time of the next refresh; waiting means that it waits for a token instead.
	due     time.Time
	waiting bool
	// topics are the resolver's names for the secrets, and changed means that one of them did since the last refresh began.
	topics  []string
	changed bool
	// unrecorded means that the state beside the volume lacks its last leases.
	unrecorded bool
	// stale means that the last refresh failed.
	stale bool
	// closing means that unpublish has begun: nothing may be written any more.
	closing bool
}

// Format makes every verb of package fmt print the volume's name, and nothing of its token and leases.
func (v *volume) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("volume " + v.id)) }

func (v *volume) snapshot() (state, podToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state, v.token
}

// close keeps refreshes from writing to the volume from now on.
func (v *volume) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closing = true
}

func (v *volume) isClosing() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closing
}

// volumeTable holds the published volumes by ID.
type volumeTable struct {
	mu      sync.Mutex
	volumes map[string]*volume
}

func newVolumeTable() *volumeTable { return &volumeTable{volumes: map[string]*volume{}} }

// get returns the volume, or nil.
func (t *volumeTable) get(id string) *volume {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.volumes[id]
}

func (t *volumeTable) put(v *volume) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.volumes[v.id] = v
}

func (t *volumeTable) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.volumes, id)
}

func (t *volumeTable) all() []*volume {
	t.mu.Lock()
	defer t.mu.Unlock()
	volumes := make([]*volume, 0, len(t.volumes))
	for _, v := range t.volumes {
		volumes = append(volumes, v)
	}
	return volumes
}

// keyLocks is one lock for each volume ID that somebody holds or waits for.
type keyLocks struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

type keyLock struct {
	held  chan struct{}
	users int
}

func newKeyLocks() *keyLocks { return &keyLocks{locks: map[string]*keyLock{}} }

// lock waits until nobody else holds key, or until ctx ends. On success the caller must call unlock.
func (k *keyLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	lock := k.locks[key]
	if lock == nil {
		lock = &keyLock{held: make(chan struct{}, 1)}
		k.locks[key] = lock
	}
	lock.users++
	k.mu.Unlock()

	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if lock.users--; lock.users == 0 {
			delete(k.locks, key)
		}
	}
	select {
	case lock.held <- struct{}{}:
		return func() { <-lock.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

const hashedPrefix = "sha256-"

var plainDirectory = regexp.MustCompile(`^[a-zA-Z0-9][-._a-zA-Z0-9]{0,127}$`)

// directoryName is the name of the volume's directory. The kubelet's volume IDs are used as they are; whatever could lead
// out of the directory, or is too long, is replaced by its hash.
func directoryName(volumeID string) string {
	if plainDirectory.MatchString(volumeID) && !strings.HasPrefix(volumeID, hashedPrefix) {
		return volumeID
	}
	sum := sha256.Sum256([]byte(volumeID))
	return hashedPrefix + hex.EncodeToString(sum[:])
}
