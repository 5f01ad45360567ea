package resolver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// mountGrace is how long after the time to ask again a volume still counts as mounted. A node that restarts asks again after 90 seconds
// at the latest. Nobody tells the resolver of a volume that goes away.
const mountGrace = 2 * time.Minute

// Mounts remembers which volumes ask this replica, so that a Connection's status can say who uses it. It holds times and version
// numbers, and forgets volumes that no longer ask.
type Mounts struct {
	clock clock.PassiveClock

	mu          sync.Mutex
	connections map[types.NamespacedName]map[VolumeID]*mountedVolume
}

// VolumeID names a volume: a pod may mount a Connection twice with different overrides.
type VolumeID struct {
	pod        types.UID
	attributes string
}

type mountedVolume struct {
	refreshed time.Time
	until     time.Time
	versions  map[string]int64
}

// NewMounts returns an empty memory.
func NewMounts(clk clock.PassiveClock) *Mounts {
	return &Mounts{clock: clk, connections: map[types.NamespacedName]map[VolumeID]*mountedVolume{}}
}

// NewVolumeID names the volume of a pod that has these attributes.
func NewVolumeID(pod types.UID, attributes map[string]string) VolumeID {
	return VolumeID{pod: pod, attributes: fmt.Sprint(attributes)} // maps are printed in the order of their keys
}

// Served notes a volume that has, or keeps, files of these versions of secrets, by path, and will ask again after a time.
func (m *Mounts) Served(connection types.NamespacedName, id VolumeID, versions map[string]int64, refreshAfter time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.connections[connection] == nil {
		m.connections[connection] = map[VolumeID]*mountedVolume{}
	}
	now := m.clock.Now()
	m.connections[connection][id] = &mountedVolume{
		refreshed: now, until: now.Add(refreshAfter + mountGrace), versions: versions,
	}
}

// Failed notes that a volume asked in vain: it keeps its files.
func (m *Mounts) Failed(connection types.NamespacedName, id VolumeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if volume := m.connections[connection][id]; volume != nil {
		volume.until = m.clock.Now().Add(mountGrace)
	}
}

// counts returns what each Connection's volumes hold, as this replica's entry in status has it, and forgets volumes that are gone.
func (m *Mounts) counts(replica string) map[types.NamespacedName]v1alpha1.ReplicaMounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	counts := map[types.NamespacedName]v1alpha1.ReplicaMounts{}
	for connection, volumes := range m.connections {
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
				count.Secrets = include(count.Secrets, v1alpha1.ServedSecret{Path: path, OldestVersion: version, NewestVersion: version})
			}
		}
		if len(volumes) == 0 {
			delete(m.connections, connection)
			continue
		}
		count.LastRefreshTime = &metav1.Time{Time: last.Truncate(time.Second)}
		counts[connection] = count
	}
	return counts
}

// include adds what is served of a secret to a list that is sorted by path.
func include(secrets []v1alpha1.ServedSecret, secret v1alpha1.ServedSecret) []v1alpha1.ServedSecret {
	at, found := slices.BinarySearchFunc(secrets, secret, func(a, b v1alpha1.ServedSecret) int { return strings.Compare(a.Path, b.Path) })
	if !found {
		return slices.Insert(secrets, at, secret)
	}
	secrets[at].OldestVersion = min(secrets[at].OldestVersion, secret.OldestVersion)
	secrets[at].NewestVersion = max(secrets[at].NewestVersion, secret.NewestVersion)
	return secrets
}
