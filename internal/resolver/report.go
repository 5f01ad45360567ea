package resolver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// +kubebuilder:rbac:groups=sallyport.dev,resources=connections/status,verbs=get;update;patch

const (
	// reportPause is the pause between two looks, and so bounds how often a Connection's status is written: once in it by each replica, however
	// many volumes come and go.
	reportPause = 10 * time.Second
	// reportAnyway is how often the time of the last refresh alone is a reason to write.
	reportAnyway = 10 * time.Minute
)

// Reporter writes into the status of Connections how many volumes this replica serves. Each replica writes an entry of its own, and the
// sum with it.
type Reporter struct {
	mounts     *Mounts
	client     client.Client
	configMaps typedcorev1.ConfigMapInterface
	replica    string
	clock      clock.PassiveClock
	log        logr.Logger
	// refreshInterval is how often the volumes of a Connection ask.
	refreshInterval func(*v1alpha1.Connection) time.Duration
	// gone is since when a replica that stands in some status is known to be gone.
	gone map[string]time.Time
}

// ReporterOptions are what a Reporter needs, all of it.
type ReporterOptions struct {
	Mounts *Mounts
	Client client.Client
	// ConfigMaps of Sallyport's own namespace, in one of which the replicas publish themselves.
	ConfigMaps typedcorev1.ConfigMapInterface
	// Replica is this one's name.
	Replica string
	// RefreshInterval is how often the volumes of a Connection ask.
	RefreshInterval func(*v1alpha1.Connection) time.Duration
	Clock           clock.PassiveClock
	Log             logr.Logger
}

// NewReporter returns a reporter for one replica.
func NewReporter(o ReporterOptions) *Reporter {
	return &Reporter{
		mounts: o.Mounts, client: o.Client, configMaps: o.ConfigMaps, replica: o.Replica, refreshInterval: o.RefreshInterval,
		clock: o.Clock, log: o.Log, gone: map[string]time.Time{},
	}
}

// NeedLeaderElection tells the manager to run the reporter in every replica.
func (r *Reporter) NeedLeaderElection() bool { return false }

// Start reports until ctx ends. A failure is tried again at the next look.
func (r *Reporter) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			r.log.Error(err, "reporting mounts")
		}
	}, reportPause)
	return nil
}

func (r *Reporter) report(ctx context.Context) error {
	published, err := r.configMaps.Get(ctx, resolverv1.ConfigMapName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading which replicas there are: %w", err)
	}
	list := &v1alpha1.ConnectionList{}
	// Without copies: there may be ten thousand, and all but a few are only looked at.
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing Connections: %w", err)
	}
	counts := r.mounts.counts(r.replica)
	r.gone = stillGone(r.gone, list.Items, published.Data, r.clock.Now())
	for i := range list.Items {
		connection := &list.Items[i]
		mine := counts[client.ObjectKeyFromObject(connection)]
		mine.Name = r.replica
		next := merge(connection.Status.Mounts, mine, func(name string) presence {
			since, gone := r.gone[name]
			switch {
			case !gone:
				return there
			case r.clock.Since(since) < r.refreshInterval(connection)+mountGrace:
				return leaving
			}
			return left
		})
		if !worthWriting(connection.Status.Mounts, next) {
			continue
		}
		if err := r.write(ctx, connection.DeepCopy(), next); err != nil {
			return err
		}
	}
	return nil
}

// write stores the mounts unless somebody else wrote meanwhile: the sum would be of what was true before.
func (r *Reporter) write(ctx context.Context, connection *v1alpha1.Connection, next *v1alpha1.ConnectionMounts) error {
	before := connection.DeepCopy()
	connection.Status.Mounts = next
	err := r.client.Status().Patch(ctx, connection, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // at the next look
	}
	return err
}

// stillGone returns which of the replicas in the Connections' status are not published, and since when that is known.
func stillGone(before map[string]time.Time, connections []v1alpha1.Connection, published map[string]string, now time.Time) map[string]time.Time {
	gone := map[string]time.Time{}
	for i := range connections {
		if connections[i].Status.Mounts == nil {
			continue
		}
		for _, entry := range connections[i].Status.Mounts.Replicas {
			if published[entry.Name] != "" {
				continue
			}
			gone[entry.Name] = now
			if since, known := before[entry.Name]; known {
				gone[entry.Name] = since
			}
		}
	}
	return gone
}

// presence is whether a replica is there. One that is leaving is gone, but the volumes that asked it may not have asked another one yet.
type presence int

const (
	there presence = iota
	leaving
	left
)

// merge returns the mounts with this replica's count, without the entries of replicas that left, and with the sum of all. While one is
// leaving its volumes turn up with the others: they are not counted twice, and the sum does not fall.
func merge(mounts *v1alpha1.ConnectionMounts, mine v1alpha1.ReplicaMounts, of func(name string) presence) *v1alpha1.ConnectionMounts {
	var replicas []v1alpha1.ReplicaMounts
	var least int32
	if mounts != nil {
		replicas = slices.DeleteFunc(slices.Clone(mounts.Replicas), func(entry v1alpha1.ReplicaMounts) bool {
			return entry.Name == mine.Name || of(entry.Name) == left
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
		if entry.Name != mine.Name && of(entry.Name) == leaving {
			least = ptr.Deref(mounts.Volumes, 0)
		} else {
			*sum.Volumes += entry.Volumes
		}
		if at := entry.LastRefreshTime; at != nil && (sum.LastRefreshTime == nil || sum.LastRefreshTime.Before(at)) {
			sum.LastRefreshTime = at
		}
		for _, secret := range entry.Secrets {
			sum.Secrets = include(sum.Secrets, secret)
		}
	}
	*sum.Volumes = max(*sum.Volumes, least)
	return sum
}

// worthWriting tells whether the mounts differ in more than a time, or in that by much.
func worthWriting(before, next *v1alpha1.ConnectionMounts) bool {
	if before == nil || next == nil {
		return next != nil
	}
	if !equality.Semantic.DeepEqual(timeless(before), timeless(next)) {
		return true
	}
	return ptr.Deref(next.LastRefreshTime, metav1.Time{}).Sub(ptr.Deref(before.LastRefreshTime, metav1.Time{}).Time) >= reportAnyway
}

func timeless(mounts *v1alpha1.ConnectionMounts) *v1alpha1.ConnectionMounts {
	without := mounts.DeepCopy()
	without.LastRefreshTime = nil
	for i := range without.Replicas {
		without.Replicas[i].LastRefreshTime = nil
	}
	return without
}
