package usage

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
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
