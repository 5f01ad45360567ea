package usage

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

func TestMergeSumsTheReplicasAndCountsNoVolumeTwice(t *testing.T) {
	early, late := metav1.Unix(100, 0), metav1.Unix(200, 0)
	entry := func(name string, volumes int32, at metav1.Time, oldest, newest int64) v1alpha1.ReplicaMounts {
		return v1alpha1.ReplicaMounts{Name: name, Volumes: volumes, LastRefreshTime: &at,
			Secrets: []v1alpha1.ServedSecret{{Path: "p", OldestVersion: oldest, NewestVersion: newest}}}
	}
	mounts := func(volumes int32, replicas ...v1alpha1.ReplicaMounts) *v1alpha1.ConnectionMounts {
		return &v1alpha1.ConnectionMounts{Volumes: &volumes, Replicas: replicas}
	}
	all := func(p replicaState) func(string) replicaState { return func(string) replicaState { return p } }

	g := NewWithT(t)
	g.Expect(mergeMounts(nil, v1alpha1.ReplicaMounts{Name: "a"}, all(replicaServing))).To(BeNil(), "who was never mounted has no mounts")
	sum := mergeMounts(mounts(9, entry("b", 2, late, 1, 3)), entry("a", 3, early, 2, 4), all(replicaServing))
	g.Expect(sum.Volumes).To(HaveValue(BeEquivalentTo(5)))
	g.Expect(sum.LastRefreshTime).To(HaveValue(Equal(late)))
	g.Expect(sum.Secrets).To(Equal([]v1alpha1.ServedSecret{{Path: "p", OldestVersion: 1, NewestVersion: 4}}))
	g.Expect(sum.Replicas).To(HaveExactElements(HaveField("Name", "a"), HaveField("Name", "b")))

	g.Expect(mergeMounts(sum, entry("a", 4, late, 2, 4), all(replicaTerminating)).Volumes).To(HaveValue(BeEquivalentTo(5)), "b's volumes turn up with a")
	g.Expect(mergeMounts(sum, entry("a", 6, late, 2, 4), all(replicaTerminating)).Volumes).To(HaveValue(BeEquivalentTo(6)))
	g.Expect(mergeMounts(sum, entry("a", 4, late, 2, 4), all(replicaGone)).Volumes).To(HaveValue(BeEquivalentTo(4)))
	empty := mergeMounts(sum, v1alpha1.ReplicaMounts{Name: "a"}, all(replicaGone))
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

func TestWhatIsAsBeforeIsNotWorthWriting(t *testing.T) {
	entry := func(name string, volumes int32, seconds, version int64) v1alpha1.ReplicaMounts {
		when := metav1.Unix(seconds, 0)
		return v1alpha1.ReplicaMounts{Name: name, Volumes: volumes, LastRefreshTime: &when,
			Secrets: []v1alpha1.ServedSecret{{Path: "p", OldestVersion: version, NewestVersion: version}}}
	}
	serving := func(string) replicaState { return replicaServing }
	both := mergeMounts(mergeMounts(nil, entry("a", 2, 0, 1), serving), entry("b", 3, 0, 1), serving)
	inflated, none := both.DeepCopy(), mergeMounts(both, v1alpha1.ReplicaMounts{Name: "a"}, serving)
	*inflated.Volumes = 9 // as it is while another replica is terminating
	for name, row := range map[string]struct {
		mounts   *v1alpha1.ConnectionMounts
		mine     v1alpha1.ReplicaMounts
		asBefore bool
	}{
		"nothing, ever":          {nil, v1alpha1.ReplicaMounts{Name: "a"}, true},
		"the first":              {nil, entry("a", 1, 0, 1), false},
		"the same":               {both, entry("a", 2, 0, 1), true},
		"a later time":           {both, entry("a", 2, 599, 1), true},
		"a time much later":      {both, entry("a", 2, 600, 1), false},
		"one more":               {both, entry("a", 3, 0, 1), false},
		"another version":        {both, entry("a", 2, 0, 2), false},
		"none any more":          {both, v1alpha1.ReplicaMounts{Name: "a"}, false},
		"none still":             {none, v1alpha1.ReplicaMounts{Name: "a"}, true},
		"a sum that is too much": {inflated, entry("a", 2, 0, 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(asBefore(row.mounts, &row.mine)).To(Equal(row.asBefore))
			g.Expect(worthWriting(row.mounts, mergeMounts(row.mounts, row.mine, serving))).To(Equal(!row.asBefore))
			g.Expect(testing.AllocsPerRun(10, func() { asBefore(row.mounts, &row.mine) })).To(BeZero())
		})
	}
}

func TestAReplicaIsGoneSinceItWasFirstMissed(t *testing.T) {
	g := NewWithT(t)
	one, now := int32(1), time.Unix(1000, 0)
	connections := []v1alpha1.Connection{{}, {Status: v1alpha1.ConnectionStatus{Mounts: &v1alpha1.ConnectionMounts{
		Volumes: &one, Replicas: []v1alpha1.ReplicaMounts{{Name: "here"}, {Name: "old"}, {Name: "new"}},
	}}}}
	gone := missingReplicas(map[string]time.Time{"old": now.Add(-time.Hour), "forgotten": now}, connections, map[string]string{"here": "certificate"}, now)
	g.Expect(gone).To(Equal(map[string]time.Time{"old": now.Add(-time.Hour), "new": now}))
}
