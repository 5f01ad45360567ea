package resolver

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

func TestMountsCountVolumesAndTheirVersions(t *testing.T) {
	g := NewWithT(t)
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	m := NewMounts(clk)
	served := func(id VolumeID, version int64) {
		m.Served(db, id, map[string]int64{"secret/data/db": version, "secret/data/a": 1}, time.Minute)
	}
	one, other := NewVolumeID("a", map[string]string{"connection": "db"}), NewVolumeID("a", map[string]string{"connection": "db", "value.x": "1"})
	served(one, 3)
	served(other, 4)
	served(NewVolumeID("b", map[string]string{"connection": "db"}), 2)
	served(one, 5) // once more
	m.Failed(db, NewVolumeID("c", nil))
	g.Expect(m.counts("r")).To(HaveKeyWithValue(db, v1alpha1.ReplicaMounts{
		Name: "r", Volumes: 3, LastRefreshTime: &metav1.Time{Time: clk.Now()}, Secrets: []v1alpha1.ServedSecret{
			{Path: "secret/data/a", OldestVersion: 1, NewestVersion: 1}, {Path: "secret/data/db", OldestVersion: 2, NewestVersion: 5},
		},
	}))

	clk.SetTime(clk.Now().Add(time.Minute + mountGrace))
	m.Failed(db, one)
	clk.SetTime(clk.Now().Add(time.Second))
	g.Expect(m.counts("r")[db].Volumes).To(BeEquivalentTo(1), "what asks in vain is still mounted, what does not ask is gone")
	clk.SetTime(clk.Now().Add(mountGrace))
	g.Expect(m.counts("r")).To(BeEmpty())
	g.Expect(m.connections).To(BeEmpty())
}

func TestMarkersTellTheirVersion(t *testing.T) {
	r, _ := newTestRounds()
	for version, marker := range map[int64]string{
		0: "", 7: "7.1", 12: "12.-62135596800000000000",
	} {
		NewWithT(t).Expect(versionIn(marker)).To(Equal(version))
	}
	NewWithT(t).Expect(versionIn(r.instance + ".1")).To(BeZero())
}

func TestMergeSumsTheReplicasAndCountsNoVolumeTwice(t *testing.T) {
	early, late := metav1.Unix(100, 0), metav1.Unix(200, 0)
	entry := func(name string, volumes int32, at metav1.Time, oldest, newest int64) v1alpha1.ReplicaMounts {
		return v1alpha1.ReplicaMounts{Name: name, Volumes: volumes, LastRefreshTime: &at,
			Secrets: []v1alpha1.ServedSecret{{Path: "p", OldestVersion: oldest, NewestVersion: newest}}}
	}
	mounts := func(volumes int32, replicas ...v1alpha1.ReplicaMounts) *v1alpha1.ConnectionMounts {
		return &v1alpha1.ConnectionMounts{Volumes: &volumes, Replicas: replicas}
	}
	all := func(p presence) func(string) presence { return func(string) presence { return p } }

	g := NewWithT(t)
	g.Expect(merge(nil, v1alpha1.ReplicaMounts{Name: "a"}, all(there))).To(BeNil(), "who was never mounted has no mounts")
	sum := merge(mounts(9, entry("b", 2, late, 1, 3)), entry("a", 3, early, 2, 4), all(there))
	g.Expect(sum.Volumes).To(HaveValue(BeEquivalentTo(5)))
	g.Expect(sum.LastRefreshTime).To(HaveValue(Equal(late)))
	g.Expect(sum.Secrets).To(Equal([]v1alpha1.ServedSecret{{Path: "p", OldestVersion: 1, NewestVersion: 4}}))
	g.Expect(sum.Replicas).To(HaveExactElements(HaveField("Name", "a"), HaveField("Name", "b")))

	g.Expect(merge(sum, entry("a", 4, late, 2, 4), all(leaving)).Volumes).To(HaveValue(BeEquivalentTo(5)), "b's volumes turn up with a")
	g.Expect(merge(sum, entry("a", 6, late, 2, 4), all(leaving)).Volumes).To(HaveValue(BeEquivalentTo(6)))
	g.Expect(merge(sum, entry("a", 4, late, 2, 4), all(left)).Volumes).To(HaveValue(BeEquivalentTo(4)))
	empty := merge(sum, v1alpha1.ReplicaMounts{Name: "a"}, all(left))
	g.Expect(empty.Volumes).To(HaveValue(BeZero()))
	g.Expect(empty.Replicas).To(BeEmpty())
}

func TestStatusIsNotWrittenForATimeAlone(t *testing.T) {
	g := NewWithT(t)
	at := func(seconds int64, volumes int32) *v1alpha1.ConnectionMounts {
		when := metav1.Unix(seconds, 0)
		return &v1alpha1.ConnectionMounts{Volumes: &volumes, LastRefreshTime: &when,
			Replicas: []v1alpha1.ReplicaMounts{{Name: "a", Volumes: volumes, LastRefreshTime: &when}}}
	}
	g.Expect(worthWriting(nil, nil)).To(BeFalse())
	g.Expect(worthWriting(nil, at(0, 1))).To(BeTrue())
	g.Expect(worthWriting(at(0, 1), at(599, 1))).To(BeFalse())
	g.Expect(worthWriting(at(0, 1), at(600, 1))).To(BeTrue())
	g.Expect(worthWriting(at(0, 1), at(1, 2))).To(BeTrue())
}

func TestAReplicaIsGoneSinceItWasFirstMissed(t *testing.T) {
	g := NewWithT(t)
	one, now := int32(1), time.Unix(1000, 0)
	connections := []v1alpha1.Connection{{}, {Status: v1alpha1.ConnectionStatus{Mounts: &v1alpha1.ConnectionMounts{
		Volumes: &one, Replicas: []v1alpha1.ReplicaMounts{{Name: "here"}, {Name: "old"}, {Name: "new"}},
	}}}}
	gone := stillGone(map[string]time.Time{"old": now.Add(-time.Hour), "forgotten": now}, connections, map[string]string{"here": "certificate"}, now)
	g.Expect(gone).To(Equal(map[string]time.Time{"old": now.Add(-time.Hour), "new": now}))
}
