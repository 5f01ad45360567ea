package usage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/heap"
)

var db = types.NamespacedName{Namespace: "shop", Name: "db"}

func TestTrackerCountsVolumesAndTheirVersions(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	tracker := NewVolumeTracker(clk)
	served := func(id VolumeID, version int64) {
		tracker.Served(db, id, map[string]int64{"secret/data/db": version, "secret/data/a": 1}, time.Minute)
	}
	one, other := NewVolumeID("a", map[string]string{"connection": "db"}), NewVolumeID("a", map[string]string{"connection": "db", "value.x": "1"})
	served(one, 3)
	served(other, 4)
	served(NewVolumeID("b", map[string]string{"connection": "db"}), 2)
	served(one, 5) // once more
	tracker.Failed(db, NewVolumeID("c", nil))
	g.Expect(tracker.counts("r")).To(HaveKeyWithValue(db, v1alpha1.ReplicaMounts{
		Name: "r", Volumes: 3, LastRefreshTime: &metav1.Time{Time: clk.Now()}, Secrets: []v1alpha1.ServedSecret{
			{Path: "secret/data/a", OldestVersion: 1, NewestVersion: 1}, {Path: "secret/data/db", OldestVersion: 2, NewestVersion: 5},
		},
	}))

	clk.SetTime(clk.Now().Add(time.Minute + mountGrace))
	tracker.Failed(db, one)
	clk.SetTime(clk.Now().Add(time.Second))
	g.Expect(tracker.counts("r")[db].Volumes).To(BeEquivalentTo(1), "what asks in vain is still mounted, what does not ask is gone")
	clk.SetTime(clk.Now().Add(mountGrace))
	g.Expect(tracker.counts("r")).To(BeEmpty())
	g.Expect(tracker.connections).To(BeEmpty())
}

func TestVersionsThatVolumesHoldAreBounded(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	tracker := NewVolumeTracker(clk)
	greedy, victim := types.NamespacedName{Namespace: "greedy", Name: "c"}, types.NamespacedName{Namespace: "victim", Name: "c"}
	served := func(connection types.NamespacedName, pod int, paths ...string) {
		versions := map[string]int64{}
		for _, path := range paths {
			versions[path] = 1
		}
		id := NewVolumeID(types.UID(fmt.Sprint(pod)), map[string]string{"value.large": strings.Repeat("x", 1<<20)})
		tracker.Served(connection, id, versions, time.Minute)
	}
	for pod := range 300 { // each pod has overrides of its own, and so other secrets
		served(greedy, pod, fmt.Sprint(pod), strings.Repeat("p", 60_000))
	}
	served(victim, 1, "secret/data/db")
	g.Expect(tracker.room.Inside("greedy")).To(BeNumerically("<=", heap.TrackedShare))
	counts := tracker.counts("r")
	g.Expect(counts[greedy].Volumes).To(BeEquivalentTo(300), "all are counted")
	g.Expect(counts[victim].Secrets).To(HaveLen(1))
	for pod := range 300 { // as when they are refreshed
		served(greedy, pod, "same")
	}
	g.Expect(tracker.room.Inside("greedy")).To(BeNumerically("<", 100), "volumes with the same versions share them")
	clk.SetTime(clk.Now().Add(time.Hour))
	g.Expect(tracker.counts("r")).To(BeEmpty())
	g.Expect(tracker.room.Inside("greedy") + tracker.room.Inside("victim")).To(BeZero())
	g.Expect(tracker.newest).To(BeEmpty())
}

func TestLeasesThatAreHeldAndDue(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	tracker := NewVolumeTracker(clk)
	count := func(wantHeld, wantDue int, what string) {
		t.Helper()
		held, due := tracker.leases()
		g.Expect([]int{held, due}).To(Equal([]int{wantHeld, wantDue}), what)
	}
	one, other, never := NewVolumeID("a", nil), NewVolumeID("b", nil), NewVolumeID("c", nil)
	for id, due := range map[VolumeID]time.Time{one: clk.Now().Add(time.Minute), other: clk.Now().Add(time.Hour), never: {}} {
		tracker.Served(db, id, nil, 2*time.Hour)
		tracker.Leased(db, id, 2, due)
	}
	tracker.Leased(db, NewVolumeID("unknown", nil), 2, clk.Now())
	count(6, 0, "held")
	clk.SetTime(clk.Now().Add(time.Minute + time.Second))
	count(6, 0, "its pod may be gone")
	tracker.Failed(db, one)
	count(6, 1, "its volume asks in vain")
	clk.SetTime(clk.Now().Add(askedLately))
	count(4, 0, "its volume asks another replica")
	tracker.Served(db, one, nil, 2*time.Hour)
	tracker.Leased(db, one, 2, clk.Now().Add(-time.Second))
	count(6, 1, "it is served without what is due")
	tracker.Served(db, one, nil, 2*time.Hour)
	tracker.Leased(db, one, 1, clk.Now().Add(time.Minute))
	count(5, 0, "it was renewed")
	clk.SetTime(clk.Now().Add(3 * time.Hour))
	count(0, 0, "volumes that do not ask")
}
