package usage

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// timeOnlyWritePause is the minimum interval between two writes of a status in which only the time of the last refresh
// is new.
const timeOnlyWritePause = 10 * time.Minute

// replicaState is whether a replica serves. A terminating one is gone, but its volumes may not have asked another
// replica yet.
type replicaState int

const (
	replicaServing replicaState = iota
	replicaTerminating
	replicaGone
)

// mergeMounts returns the mounts with this replica's count, without the entries of replicas that are gone, and with the
// sum of all. While one is terminating, its volumes turn up with the others: they are not counted twice, and the sum
// does not fall.
func mergeMounts(
	mounts *v1alpha1.ConnectionMounts, mine v1alpha1.ReplicaMounts, stateOf func(name string) replicaState,
) *v1alpha1.ConnectionMounts {
	var replicas []v1alpha1.ReplicaMounts
	var least int32
	if mounts != nil {
		replicas = slices.DeleteFunc(slices.Clone(mounts.Replicas), func(entry v1alpha1.ReplicaMounts) bool {
			return entry.Name == mine.Name || stateOf(entry.Name) == replicaGone
		})
	}
	if mine.Volumes > 0 {
		replicas = append(replicas, mine)
	}
	if mounts == nil && len(replicas) == 0 {
		return nil
	}
	slices.SortFunc(replicas, func(a, b v1alpha1.ReplicaMounts) int { return strings.Compare(a.Name, b.Name) })
	sum := &v1alpha1.ConnectionMounts{Volumes: new(int32), Replicas: replicas}
	for _, entry := range replicas {
		if entry.Name != mine.Name && stateOf(entry.Name) == replicaTerminating {
			least = ptr.Deref(mounts.Volumes, 0)
		} else {
			*sum.Volumes += entry.Volumes
		}
		if at := entry.LastRefreshTime; at != nil && (sum.LastRefreshTime == nil || sum.LastRefreshTime.Before(at)) {
			sum.LastRefreshTime = at
		}
		for _, secret := range entry.Secrets {
			sum.Secrets = mergeSecret(sum.Secrets, secret)
		}
	}
	*sum.Volumes = max(*sum.Volumes, least)
	return sum
}

// mergeSecret adds the versions that are served of a secret to a list that is sorted by path.
func mergeSecret(secrets []v1alpha1.ServedSecret, secret v1alpha1.ServedSecret) []v1alpha1.ServedSecret {
	byPath := func(a, b v1alpha1.ServedSecret) int { return strings.Compare(a.Path, b.Path) }
	at, found := slices.BinarySearchFunc(secrets, secret, byPath)
	if !found {
		return slices.Insert(secrets, at, secret)
	}
	secrets[at].OldestVersion = min(secrets[at].OldestVersion, secret.OldestVersion)
	secrets[at].NewestVersion = max(secrets[at].NewestVersion, secret.NewestVersion)
	return secrets
}

// asBefore tells, of a Connection all of whose replicas serve, whether this replica's count is what status says, or
// differs in a time that is not worth writing: then so does the sum. It allocates nothing, for nearly all of ten
// thousand Connections are as before.
func asBefore(mounts *v1alpha1.ConnectionMounts, mine *v1alpha1.ReplicaMounts) bool {
	if mounts == nil {
		return mine.Volumes == 0
	}
	before, sum := &v1alpha1.ReplicaMounts{}, int32(0)
	for i := range mounts.Replicas {
		if mounts.Replicas[i].Name == mine.Name {
			before = &mounts.Replicas[i]
		}
		sum += mounts.Replicas[i].Volumes
	}
	newest, known := ptr.Deref(mine.LastRefreshTime, metav1.Time{}), ptr.Deref(mounts.LastRefreshTime, metav1.Time{})
	return before.Volumes == mine.Volumes && slices.Equal(before.Secrets, mine.Secrets) &&
		sum == ptr.Deref(mounts.Volumes, -1) && newest.Sub(known.Time) < timeOnlyWritePause
}

// worthWriting tells whether the mounts differ in more than a time, or in that by timeOnlyWritePause.
func worthWriting(before, next *v1alpha1.ConnectionMounts) bool {
	if before == nil || next == nil {
		return next != nil
	}
	if !equality.Semantic.DeepEqual(withoutTimes(before), withoutTimes(next)) {
		return true
	}
	newest, known := ptr.Deref(next.LastRefreshTime, metav1.Time{}), ptr.Deref(before.LastRefreshTime, metav1.Time{})
	return newest.Sub(known.Time) >= timeOnlyWritePause
}

func withoutTimes(mounts *v1alpha1.ConnectionMounts) *v1alpha1.ConnectionMounts {
	without := mounts.DeepCopy()
	without.LastRefreshTime = nil
	for i := range without.Replicas {
		without.Replicas[i].LastRefreshTime = nil
	}
	return without
}
