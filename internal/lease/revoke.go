package lease

import (
	"context"
	"errors"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
)

const (
	// revokeTimeout bounds the attempt to revoke a lease that no volume got.
	revokeTimeout = 15 * time.Second
	// clockTolerance is how long after its recorded end a lease is still tried to be revoked.
	clockTolerance = time.Hour
)

// RevokeVolume revokes all leases of a volume that is gone, on behalf of the node that had it. It succeeds if nothing
// is left of them. Errors are faults; unless it is Terminal, it is worth another attempt.
func (m *Manager) RevokeVolume(ctx context.Context, encrypted []byte, node string) error {
	v, err := m.encryption.decrypt(ctx, encrypted)
	switch {
	case errors.Is(err, errUndecryptable):
		return fault.Terminal(v1alpha1.ReasonInvalidRequest, "the leases were sealed with a key that is gone").
			WithRemedy("they run out by themselves")
	case err != nil:
		return err
	case v.Volume.Node != node:
		return fault.Terminal(v1alpha1.ReasonNotAllowed, "the leases belong to a volume of another node than %s", node)
	}
	// Not what else is pending for the volume: it may have been published again meanwhile.
	m.pending.take(v.Volume, func(l Lease) bool { return v.has(l.Name) })
	for _, l := range v.Leases {
		if failed := m.revokeLease(ctx, &l, v.Volume.Namespace); failed != nil && err == nil {
			err = fault.From(failed).WithClass(fault.ClassTransient)
		}
	}
	return err
}

// RevokeUndelivered revokes what was issued and reached no volume. What fails is tried again later.
func (m *Manager) RevokeUndelivered(ctx context.Context, namespace string, issued []DynamicSecret) {
	for _, d := range issued {
		m.revokeOrEnqueue(ctx, revocation{namespace: namespace, lease: d.lease(m.clock.Now())})
	}
}

// RevokeUnclaimed revokes what was issued for the volume earlier and is not among the leases that it brings: it never
// got there.
func (m *Manager) RevokeUnclaimed(ctx context.Context, v *VolumeLeases) {
	for _, l := range m.pending.take(v.Volume, func(Lease) bool { return true }) {
		if !v.has(l.Name) {
			m.revokeOrEnqueue(ctx, revocation{namespace: v.Volume.Namespace, lease: l})
		}
	}
}

// revokeOrEnqueue revokes a lease that nobody has, or puts it into the queue, and tells whether there is nothing left
// to do.
func (m *Manager) revokeOrEnqueue(ctx context.Context, r revocation) bool {
	// The caller may be gone already, which can be the reason.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	err := m.revokeLease(ctx, &r.lease, r.namespace)
	if err == nil {
		return true
	}
	f := fault.From(err)
	if f.Class == fault.ClassTransient && m.queue.enqueue(r) {
		return false
	}
	leases.WithLabelValues(actionLeft).Inc()
	m.log.Info("a lease that reached no volume is left to its own end", "reason", f.Reason, "message", f.Message())
	return true
}

// revokeQueued works the queue off, and ends at the first revocation that fails again.
func (m *Manager) revokeQueued(ctx context.Context) {
	queued := m.queue.takeAll()
	for i, r := range queued {
		if !m.revokeOrEnqueue(ctx, r) { // Vault is away; a minute later, again
			for _, rest := range queued[i+1:] {
				m.queue.enqueue(rest)
			}
			return
		}
	}
}

// revokeReplaced revokes what was replaced and tells whether there is nothing left to do. What the policy does not let
// be revoked is left to expire.
func (m *Manager) revokeReplaced(ctx context.Context, session *session.Session, l *Lease) bool {
	err := revoke(ctx, session, l)
	switch {
	case err == nil:
		return true
	case fault.From(err).Class != fault.ClassTransient:
		leases.WithLabelValues(actionLeft).Inc()
		return true
	}
	l.RevokeAt = m.clock.Now().Add(revokePause)
	return false
}

// revokeLease revokes one lease. There is nothing to do for one that expired long ago, or whose VaultConfig is gone, or
// that only a pod which is gone could revoke.
func (m *Manager) revokeLease(ctx context.Context, l *Lease, namespace string) error {
	if l.LeaseID == "" {
		return nil
	}
	session, err := m.session(ctx, l, namespace, nil)
	if err == nil {
		err = revoke(ctx, session, l)
	}
	switch {
	case fault.Is(err, v1alpha1.ReasonConfigNotFound),
		l.ServiceAccount != "" && fault.Is(err, v1alpha1.ReasonCredentialMissing),
		err != nil && l.expired(m.clock.Now().Add(-clockTolerance)):
		leases.WithLabelValues(actionLeft).Inc()
		return nil
	}
	return err
}

func revoke(ctx context.Context, session *session.Session, l *Lease) error {
	err := secrets.RevokeLease(ctx, session, secrets.NewLeaseID(l.LeaseID))
	if err == nil {
		leases.WithLabelValues(actionReleased).Inc()
	}
	return err
}
