package usage

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
)

// mountGrace is how long a volume still counts as mounted after the time at which it should have asked again. A node
// that restarts asks again after 90 seconds at the latest. Nobody tells the resolver of a volume that goes away.
const mountGrace = 2 * time.Minute

// VolumeTracker records which volumes ask this replica, so that a Connection's status can say who uses it. It holds
// times and version numbers, and forgets volumes that no longer ask. LRUExpireCache does not do: volumes are counted by
// Connection, and none may be missing from the count because there are many.
type VolumeTracker struct {
	clock clock.PassiveClock

	mu          sync.Mutex
	connections map[types.NamespacedName]map[VolumeID]*trackedVolume
	// newest are the versions that a volume was given last: nearly all volumes of a Connection have the same.
	newest map[types.NamespacedName]*heldVersions
	// room is for them. What finds none is counted without its versions.
	room *shares.Gate
}

// VolumeID names a volume: a pod may mount a Connection twice with different overrides.
type VolumeID struct {
	pod        types.UID
	attributes [sha256.Size]byte
}

type trackedVolume struct {
	refreshed time.Time
	until     time.Time
	versions  *heldVersions
	// leases that it held when it was served, and when the first of them is to be renewed, replaced or revoked; zero:
	// never. asked is when it asked last, in vain or not.
	leases     int
	due, asked time.Time
}

// heldVersions are those of secrets by path, shared by volumes that hold the same; nil if they found no room.
type heldVersions struct {
	byPath  map[string]int64
	volumes int
	leave   func()
}

// versionPrice is for a version beside its path.
const versionPrice = 64

// NewVolumeTracker returns a tracker that knows of no volume.
func NewVolumeTracker(clk clock.PassiveClock) *VolumeTracker {
	return &VolumeTracker{clock: clk, connections: map[types.NamespacedName]map[VolumeID]*trackedVolume{},
		newest: map[types.NamespacedName]*heldVersions{}, room: shares.NewGate(heap.Growing(heap.Tracked, heap.TrackedShare))}
}

// NewVolumeID returns the ID of the volume of a pod that has these attributes.
func NewVolumeID(pod types.UID, attributes map[string]string) VolumeID {
	// Maps are printed in the order of their keys. A digest, because attributes may be large.
	return VolumeID{pod: pod, attributes: sha256.Sum256([]byte(fmt.Sprint(attributes)))}
}

// Served records a volume that has, or keeps, files of these versions of secrets, by path, and asks again after
// refreshAfter.
func (t *VolumeTracker) Served(
	connection types.NamespacedName, id VolumeID, versions map[string]int64, refreshAfter time.Duration,
) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.connections[connection] == nil {
		t.connections[connection] = map[VolumeID]*trackedVolume{}
	}
	held := t.hold(connection, versions)
	if before := t.connections[connection][id]; before != nil {
		t.release(connection, before.versions)
	}
	now := t.clock.Now()
	t.connections[connection][id] = &trackedVolume{
		refreshed: now, until: now.Add(refreshAfter + mountGrace), versions: held, asked: now,
	}
}

// Leased records how many leases a volume holds that was served, and when something is to be done for one; zero: never.
func (t *VolumeTracker) Leased(connection types.NamespacedName, id VolumeID, leases int, due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if volume := t.connections[connection][id]; volume != nil {
		volume.leases, volume.due = leases, due
	}
}

// hold returns the versions for one more volume, those of the newest if they are the same. The caller holds the lock.
func (t *VolumeTracker) hold(connection types.NamespacedName, versions map[string]int64) *heldVersions {
	held := t.newest[connection]
	if held == nil || !maps.Equal(held.byPath, versions) {
		size := int64(0)
		for path := range versions {
			size += int64(versionPrice + len(path))
		}
		leave, entered := t.room.TryEnter(connection.Namespace, size)
		if !entered {
			return nil
		}
		held = &heldVersions{byPath: versions, leave: leave}
		t.newest[connection] = held
	}
	held.volumes++
	return held
}

// release says that a volume is gone or holds others. The caller holds the lock.
func (t *VolumeTracker) release(connection types.NamespacedName, held *heldVersions) {
	if held == nil {
		return
	}
	if held.volumes--; held.volumes > 0 {
		return
	}
	held.leave()
	if t.newest[connection] == held {
		delete(t.newest, connection)
	}
}

// Failed records that a volume asked in vain: it keeps its files.
func (t *VolumeTracker) Failed(connection types.NamespacedName, id VolumeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if volume := t.connections[connection][id]; volume != nil {
		volume.asked = t.clock.Now()
		volume.until = volume.asked.Add(mountGrace)
	}
}

// counts returns what each Connection's volumes hold, as this replica's entry in status has it, and forgets volumes
// that are gone.
func (t *VolumeTracker) counts(replica string) map[types.NamespacedName]v1alpha1.ReplicaMounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	counts := map[types.NamespacedName]v1alpha1.ReplicaMounts{}
	for connection, volumes := range t.connections {
		count := v1alpha1.ReplicaMounts{Name: replica}
		var last time.Time
		told := map[*heldVersions]bool{}
		for id, volume := range volumes {
			if now.After(volume.until) {
				t.release(connection, volume.versions)
				delete(volumes, id)
				continue
			}
			count.Volumes++
			if volume.refreshed.After(last) {
				last = volume.refreshed
			}
			if volume.versions == nil || told[volume.versions] {
				continue
			}
			told[volume.versions] = true
			for path, version := range volume.versions.byPath {
				served := v1alpha1.ServedSecret{Path: path, OldestVersion: version, NewestVersion: version}
				count.Secrets = mergeSecret(count.Secrets, served)
			}
		}
		if len(volumes) == 0 {
			delete(t.connections, connection)
			continue
		}
		count.LastRefreshTime = &metav1.Time{Time: last.Truncate(time.Second)}
		counts[connection] = count
	}
	return counts
}
