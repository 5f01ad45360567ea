package usage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/status"
)

// +kubebuilder:rbac:groups=sallyport.dev,resources=connections/status,verbs=get;update;patch

// reportInterval is the pause between two reports, and so bounds how often a Connection's status is written: once in it
// by each replica, however many volumes come and go.
const reportInterval = 10 * time.Second

// MountStatusReporter writes into the status of Connections how many volumes this replica serves. Each replica writes
// an entry of its own, and the sum with it.
type MountStatusReporter struct {
	volumes    *VolumeTracker
	client     client.Client
	configMaps typedcorev1.ConfigMapInterface
	replica    string
	clock      clock.PassiveClock
	log        logr.Logger
	// refreshInterval is how often the volumes of a Connection ask.
	refreshInterval func(*v1alpha1.Connection) time.Duration
	// missingSince is when a replica that stands in some status was first not published.
	missingSince map[string]time.Time
}

// ReporterOptions are what a MountStatusReporter needs, all of it.
type ReporterOptions struct {
	Volumes *VolumeTracker
	Client  client.Client
	// ConfigMaps of Sallyport's own namespace, in one of which the replicas publish themselves.
	ConfigMaps typedcorev1.ConfigMapInterface
	// Replica is this one's name.
	Replica string
	// RefreshInterval is how often the volumes of a Connection ask.
	RefreshInterval func(*v1alpha1.Connection) time.Duration
	Clock           clock.PassiveClock
	Log             logr.Logger
}

// NewMountStatusReporter returns a reporter for one replica.
func NewMountStatusReporter(o ReporterOptions) *MountStatusReporter {
	return &MountStatusReporter{
		volumes: o.Volumes, client: o.Client, configMaps: o.ConfigMaps, replica: o.Replica,
		refreshInterval: o.RefreshInterval, clock: o.Clock, log: o.Log, missingSince: map[string]time.Time{},
	}
}

// NeedLeaderElection tells the manager to run the reporter in every replica.
func (r *MountStatusReporter) NeedLeaderElection() bool { return false }

// Start reports until ctx ends. A failure is tried again with the next report.
func (r *MountStatusReporter) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			r.log.Error(err, "reporting mounts")
		}
	}, reportInterval)
	return nil
}

func (r *MountStatusReporter) report(ctx context.Context) error {
	published, err := r.configMaps.Get(ctx, resolverv1.ConfigMapName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil // of a new installation: nobody has asked any replica yet
	}
	if err != nil {
		return fmt.Errorf("reading which replicas there are: %w", err)
	}
	list := &v1alpha1.ConnectionList{}
	// Without copies: there may be ten thousand, and all but a few are only looked at.
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing Connections: %w", err)
	}
	var failed []error
	counts := r.volumes.counts(r.replica)
	r.missingSince = missingReplicas(r.missingSince, list.Items, published.Data, r.clock.Now())
	for i := range list.Items {
		connection := &list.Items[i]
		mine := counts[client.ObjectKeyFromObject(connection)]
		mine.Name = r.replica
		if len(r.missingSince) == 0 && asBefore(connection.Status.Mounts, &mine) {
			continue
		}
		next := mergeMounts(connection.Status.Mounts, mine, func(name string) replicaState {
			since, missing := r.missingSince[name]
			switch {
			case !missing:
				return replicaServing
			case r.clock.Since(since) < r.refreshInterval(connection)+mountGrace:
				return replicaTerminating
			}
			return replicaGone
		})
		if !worthWriting(connection.Status.Mounts, next) {
			continue
		}
		// One Connection whose status the API server does not take holds up no other.
		if err := r.write(ctx, connection, next); err != nil {
			failed = append(failed, fmt.Errorf("status of %s: %w", client.ObjectKeyFromObject(connection), err))
		}
	}
	return errors.Join(failed...)
}

// write stores the mounts unless somebody else wrote meanwhile: the sum would be of what was true before.
func (r *MountStatusReporter) write(
	ctx context.Context, connection *v1alpha1.Connection, next *v1alpha1.ConnectionMounts,
) error {
	after := &v1alpha1.Connection{ObjectMeta: connection.ObjectMeta, Status: *connection.Status.DeepCopy()}
	after.Status.Mounts = next
	err := status.PatchConnection(ctx, r.client, after, &connection.Status)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // with the next report
	}
	return err
}

// missingReplicas returns which of the replicas in the Connections' status are not published, and since when that is
// known.
func missingReplicas(
	before map[string]time.Time, connections []v1alpha1.Connection, published map[string]string, now time.Time,
) map[string]time.Time {
	missing := map[string]time.Time{}
	for i := range connections {
		if connections[i].Status.Mounts == nil {
			continue
		}
		for _, entry := range connections[i].Status.Mounts.Replicas {
			if published[entry.Name] != "" {
				continue
			}
			missing[entry.Name] = now
			if since, known := before[entry.Name]; known {
				missing[entry.Name] = since
			}
		}
	}
	return missing
}
