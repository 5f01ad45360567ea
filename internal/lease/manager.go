package lease

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/session"
)

// Manager renews, replaces and revokes the leases of volumes. It is safe for concurrent use.
type Manager struct {
	objects    client.Reader
	uncached   client.Reader
	sessions   *session.Sessions
	encryption encryption
	clock      clock.PassiveClock
	log        logr.Logger
	calls      *calls
	pending    *pendingLeases
	queue      *revocationQueue
	renewed    *renewedTerms // by the name of the lease
	tokens     *renewedTerms // by the ID of the token
}

// Options are what a Manager needs, all of it.
type Options struct {
	// Objects finds VaultConfigs, a cached reader.
	Objects client.Reader
	// Uncached finds pods and VaultConfigs as they are, which no cache does.
	Uncached client.Reader
	// Sessions with Vault.
	Sessions *session.Sessions
	// Secrets of Sallyport's own namespace, where the key is.
	Secrets corev1client.SecretInterface
	Clock   clock.PassiveClock
	Log     logr.Logger
}

// NewManager returns a manager, whose Start revokes what no volume came back with.
func NewManager(o Options) *Manager {
	return &Manager{
		objects: o.Objects, uncached: o.Uncached, sessions: o.Sessions, clock: o.Clock, log: o.Log,
		encryption: encryption{keys: &leaseKeys{secrets: o.Secrets, clock: o.Clock}},
		calls:      newCalls(),
		pending:    newPendingLeases(),
		queue:      newRevocationQueue(),
		renewed:    newRenewedTerms(o.Clock),
		tokens:     newRenewedTerms(o.Clock),
	}
}

// Open decrypts the leases that a volume brings. Leases that were encrypted with a key which is gone are nobody's any
// more: the volume gets others. Errors are faults.
func (m *Manager) Open(ctx context.Context, encrypted []byte, of Volume) (*VolumeLeases, error) {
	none := &VolumeLeases{Volume: of}
	if len(encrypted) == 0 {
		return none, nil
	}
	v, err := m.encryption.decrypt(ctx, encrypted)
	switch {
	case errors.Is(err, errUndecryptable):
		m.log.Info("leases that cannot be read are left to their own end", "namespace", of.Namespace, "pod", of.PodName)
		return none, nil
	case err != nil:
		return nil, err
	case v.Volume.key() != of.key() || v.Volume.Node != of.Node:
		return nil, fault.Waiting(v1alpha1.ReasonNotAllowed,
			"the leases belong to another volume than that of pod %s/%s", of.Namespace, of.PodName)
	}
	return v, nil
}

// Commit brings the leases to what the volume's files will hold, see VolumeLeases.Update, and encrypts them for the
// node; empty if the volume has none. What was issued is pending from then on.
func (m *Manager) Commit(
	ctx context.Context, v *VolumeLeases, wanted []string, issued []DynamicSecret,
) ([]byte, error) {
	v.Update(wanted, issued, m.clock.Now())
	var encrypted []byte
	if len(v.Leases) > 0 {
		var err error
		if encrypted, err = m.encryption.encrypt(ctx, v); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err() // nobody waits for the response
	}
	m.TrackPending(v, issued)
	return encrypted, nil
}

// TrackPending remembers what was issued for a volume until the volume comes with it.
func (m *Manager) TrackPending(v *VolumeLeases, issued []DynamicSecret) {
	var pending []Lease
	for _, d := range issued {
		if l := d.lease(m.clock.Now()); l.LeaseID != "" {
			pending = append(pending, l)
		}
	}
	if len(pending) > 0 {
		leases.WithLabelValues(actionMade).Add(float64(len(pending)))
		if forgotten := m.pending.add(v.Volume, pending, m.clock.Now()); forgotten > 0 {
			leases.WithLabelValues(actionForgotten).Add(float64(forgotten))
		}
	}
}

// NextRefresh is the time after which the volume should ask again: after, or when its leases need it if that is sooner.
func (m *Manager) NextRefresh(v *VolumeLeases, after time.Duration) time.Duration {
	if next := v.NextAction(); !next.IsZero() {
		after = min(after, next.Sub(m.clock.Now()))
	}
	return max(after, time.Second)
}

// begin waits for a lease's turn and returns the session to make calls with until done is called. Errors are faults.
func (m *Manager) begin(
	ctx context.Context, l *Lease, kept Token, namespace string, workload *auth.Workload,
) (s *session.Session, done func(), err error) {
	if done, err = m.calls.acquire(ctx, laneOf(namespace, l)); err != nil {
		return nil, nil, err
	}
	if s, err = m.session(ctx, m.objects, l, kept, namespace, workload); err != nil {
		done()
		return nil, nil, err
	}
	return s, done, nil
}

// session returns the session that a lease is renewed and revoked with: where the VaultConfig can log in no more, one
// that has the token that the lease ends with, which its owner gave up for what is new and not for what there is. A
// VaultConfig that is disabled serves what it has issued.
func (m *Manager) session(
	ctx context.Context, objects client.Reader, l *Lease, kept Token, namespace string, workload *auth.Workload,
) (*session.Session, error) {
	config, err := configOf(ctx, objects, l)
	if err != nil {
		return nil, err
	}
	workload = workloadOf(l, namespace, workload)
	own, err := m.sessions.ForWorkload(ctx, config, workload)
	if err != nil && kept.Value != "" && fault.From(err).Class != fault.ClassTransient {
		last, failed := m.sessions.WithLeaseToken(ctx, config, workload, kept.ofLease(l))
		if failed == nil {
			return last, nil
		}
	}
	return own, err
}

// configOf returns the VaultConfig that a lease was made through, or one that leads to the same Vault under its name.
func configOf(ctx context.Context, objects client.Reader, l *Lease) (*v1alpha1.VaultConfig, error) {
	config := &v1alpha1.VaultConfig{}
	err := objects.Get(ctx, l.Config, config)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"VaultConfig %s cannot be read from the Kubernetes API", l.Config)
	case err != nil || session.VaultOf(config) != l.Vault:
		return nil, fault.Waiting(v1alpha1.ReasonConfigNotFound,
			"VaultConfig %s, which the lease was made through, does not exist any more, or is about another Vault", l.Config)
	}
	return config, nil
}

// workloadOf is the pod that a lease is renewed and revoked for; without one, its service account.
func workloadOf(l *Lease, namespace string, workload *auth.Workload) *auth.Workload {
	if workload == nil && l.ServiceAccount != "" {
		return &auth.Workload{Namespace: namespace, ServiceAccount: l.ServiceAccount}
	}
	return workload
}

// podGone tells whether a volume's pod does not exist any more.
func (m *Manager) podGone(ctx context.Context, v Volume) bool {
	pod := &corev1.Pod{}
	err := m.uncached.Get(ctx, types.NamespacedName{Namespace: v.Namespace, Name: v.PodName}, pod)
	if err != nil {
		return client.IgnoreNotFound(err) == nil
	}
	return pod.UID != v.PodUID
}
