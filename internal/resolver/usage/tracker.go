package usage

import (
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
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
}

// VolumeID names a volume: a pod may mount a Connection twice with different overrides.
type VolumeID struct {
	pod        types.UID
	attributes string
}

type trackedVolume struct {
	refreshed time.Time
	until     time.Time
	versions  map[string]int64
}

// NewVolumeTracker returns a tracker that knows of no volume.
func NewVolumeTracker(clk clock.PassiveClock) *VolumeTracker {
	return &VolumeTracker{clock: clk, connections: map[types.NamespacedName]map[VolumeID]*trackedVolume{}}
}

// NewVolumeID returns the ID of the volume of a pod that has these attributes.
func NewVolumeID(pod types.UID, attributes map[string]string) VolumeID {
	return VolumeID{pod: pod, attributes: fmt.Sprint(attributes)} // maps are printed in the order of their keys
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
	now := t.clock.Now()
	t.connections[connection][id] = &trackedVolume{
		refreshed: now, until: now.Add(refreshAfter + mountGrace), versions: versions,
	}
}

// Failed records that a volume asked in vain: it keeps its files.
func (t *VolumeTracker) Failed(connection types.NamespacedName, id VolumeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if volume := t.connections[connection][id]; volume != nil {
		volume.until = t.clock.Now().Add(mountGrace)
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
		for id, volume := range volumes {
			if now.After(volume.until) {
				delete(volumes, id)
				continue
			}
			count.Volumes++
			if volume.refreshed.After(last) {
				last = volume.refreshed
			}
			for path, version := range volume.versions {
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
