package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// clockTolerance is how long after its recorded end a lease is still tried to be revoked.
const clockTolerance = time.Hour

// RevokeVolume revokes all leases of a volume that is gone, on behalf of the node that had it. It succeeds if nothing
// is left of them. Errors are faults; unless it is Terminal, it is worth another attempt. othersRemain: what nobody
// here can revoke another replica may, and is not counted as left.
func (m *Manager) RevokeVolume(ctx context.Context, encrypted []byte, node string, othersRemain bool) error {
	v, err := m.opened(ctx, encrypted, node)
	if err != nil {
		return UnopenedError{err}
	}
	// Not what else is pending for the volume: it may have been published again meanwhile.
	m.pending.take(v.Volume, func(l Lease) bool { return v.has(l.Name) })
	ctx, cancel := context.WithTimeout(transport.OnBehalfOf(ctx, v.Volume.Namespace), callTimeout)
	defer cancel()
	failures := make([]error, len(v.Leases))
	var group sync.WaitGroup
	for i := range v.Leases {
		l := &v.Leases[i]
		group.Go(func() {
			failures[i] = fault.Guard(ctx, func() error {
				return m.revokeLease(ctx, l, v.token(l), v.Volume.Namespace)
			})
		})
	}
	group.Wait()
	left, err := outcome(failures)
	if !othersRemain {
		leases.WithLabelValues(actionLeft).Add(float64(left))
	}
	return err
}

// UnopenedError is why nothing of a volume's leases was looked at. It is of the node that shows them, whatever
// tenants do.
type UnopenedError struct{ error }

// Unwrap returns the fault.
func (u UnopenedError) Unwrap() error { return u.error }

// opened returns the leases of a volume that a node had.
func (m *Manager) opened(ctx context.Context, encrypted []byte, node string) (*VolumeLeases, error) {
	v, err := m.encryption.decrypt(ctx, encrypted)
	switch {
	case errors.Is(err, errUndecryptable):
		return nil, fault.Terminal(v1alpha1.ReasonInvalidRequest, "the leases were sealed with a key that is gone").
			WithRemedy("they run out by themselves")
	case err != nil:
		return nil, err
	case v.Volume.Node != node:
		return nil, fault.Terminal(v1alpha1.ReasonNotAllowed, "the leases belong to a volume of another node than %s", node)
	}
	return v, nil
}

// outcome of the revocation of several leases: worth another attempt if one of them is. Only then is it final for the
// others, too, how many of them are left to expire.
func outcome(failures []error) (left int, err error) {
	for _, failed := range failures {
		switch {
		case failed == nil:
		case nobodyCan(failed):
			left++
			if err == nil {
				err = failed
			}
		default:
			return 0, fault.From(failed).WithClass(fault.ClassTransient)
		}
	}
	return left, err
}

// nobodyCan tells whether a lease can be revoked no more: its VaultConfig is gone, or the pod as which it would be.
func nobodyCan(err error) bool {
	return fault.Is(err, v1alpha1.ReasonConfigNotFound) || errors.Is(err, errWorkloadGone)
}

// RevokeUndelivered revokes what was issued and reached no volume, soon: nobody waits for it.
func (m *Manager) RevokeUndelivered(namespace string, issued []DynamicSecret) {
	for _, d := range issued {
		m.enqueue(revocation{namespace: namespace, lease: d.lease(m.clock.Now())})
	}
	m.queue.work(m.revokeQueued)
}

// RevokeUnclaimed revokes what was issued for the volume earlier and is not among the leases that it brings: it never
// got there. Nobody waits for it.
func (m *Manager) RevokeUnclaimed(v *VolumeLeases) {
	for _, l := range m.pending.take(v.Volume, func(Lease) bool { return true }) {
		if !v.has(l.Name) {
			m.enqueue(revocation{namespace: v.Volume.Namespace, lease: l})
		}
	}
	m.queue.work(m.revokeQueued)
}

// enqueue puts a lease that nobody has into the queue, if it is one and there is room.
func (m *Manager) enqueue(r revocation) {
	if r.lease.LeaseID != "" && !m.queue.add(r) {
		leases.WithLabelValues(actionLeft).Inc()
	}
}

// revokeQueued revokes a lease of the queue and tells whether there is nothing left to do.
func (m *Manager) revokeQueued(r revocation) bool {
	ctx, cancel := context.WithTimeout(transport.OnBehalfOf(context.Background(), r.namespace), callTimeout)
	defer cancel()
	// A panic is a failure like any other: the lease is tried again.
	err := fault.Guard(logr.NewContext(ctx, m.log), func() error {
		return m.revokeLease(ctx, &r.lease, Token{}, r.namespace)
	})
	if err == nil {
		return true
	}
	f := fault.From(err)
	if f.Class == fault.ClassTransient || f.Reason == v1alpha1.ReasonCredentialMissing && !nobodyCan(err) {
		return false
	}
	leases.WithLabelValues(actionLeft).Inc()
	m.log.Info("a lease that reached no volume is left to its own end", "reason", f.Reason, "message", f.Message())
	return true
}

// revokeReplaced revokes what was replaced and tells whether there is nothing left to do. What the policy does not let
// be revoked is left to expire.
func (m *Manager) revokeReplaced(ctx context.Context, session *session.Session, l *Lease) bool {
	err := revoke(ctx, session, l)
	return err == nil || !m.keepReplaced(err, l)
}

// keepReplaced tells whether what was replaced, and could not be revoked, is to be tried again, and when.
func (m *Manager) keepReplaced(err error, l *Lease) bool {
	if fault.From(err).Class != fault.ClassTransient {
		leases.WithLabelValues(actionLeft).Inc()
		return false
	}
	l.RevokeAt = m.clock.Now().Add(revokePause)
	return true
}

// errWorkloadGone marks the fault of a lease that only a pod which is gone could revoke.
var errWorkloadGone = errors.New("the workload is gone")

// revokeLease revokes one lease. There is nothing to do for one that expired long ago. Errors are faults.
func (m *Manager) revokeLease(ctx context.Context, l *Lease, kept Token, namespace string) error {
	if l.LeaseID == "" || l.expired(m.clock.Now().Add(-clockTolerance)) {
		return nil
	}
	done, err := m.calls.acquire(ctx, laneOf(namespace, l))
	if err != nil {
		return err
	}
	defer done()
	session, end, err := m.revokingSession(ctx, l, kept, namespace)
	if err == nil {
		defer end()
		err = revoke(ctx, session, l)
	}
	if l.ServiceAccount != "" && fault.Is(err, v1alpha1.ReasonCredentialMissing) {
		return errors.Join(err, errWorkloadGone)
	}
	return err
}

// revokingSession returns the session to revoke a lease with until end is called: where its VaultConfig is gone, or can
// log in no more, one that has the last token for a while, or one with the token that the volume keeps, on the way on
// which it was obtained. That a VaultConfig is gone is for the API server to say: the cache may be behind.
func (m *Manager) revokingSession(
	ctx context.Context, l *Lease, kept Token, namespace string,
) (s *session.Session, end func(), err error) {
	end = func() {}
	s, err = m.session(ctx, m.objects, l, kept, namespace, nil)
	if err == nil || fault.From(err).Class == fault.ClassTransient {
		return s, end, err
	}
	workload := types.NamespacedName{}
	if l.ServiceAccount != "" {
		workload = types.NamespacedName{Namespace: namespace, Name: l.ServiceAccount}
	}
	if draining := m.sessions.Draining(l.Config, l.Vault, workload); draining != nil {
		return draining, end, nil
	}
	if fault.Is(err, v1alpha1.ReasonConfigNotFound) {
		s, err = m.session(ctx, m.uncached, l, kept, namespace, nil)
	}
	gone := fault.Is(err, v1alpha1.ReasonConfigNotFound) || fault.Is(err, v1alpha1.ReasonCredentialMissing)
	if gone && fault.From(err).Class != fault.ClassTransient && kept.route != nil {
		return m.sessions.WithRoute(ctx, l.Config, kept.ofLease(l))
	}
	return s, end, err
}

func revoke(ctx context.Context, session *session.Session, l *Lease) error {
	err := secrets.RevokeLease(ctx, session, l.id())
	if err == nil {
		leases.WithLabelValues(actionReleased).Inc()
	}
	return err
}
