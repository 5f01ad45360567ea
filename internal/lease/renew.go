package lease

import (
	"context"
	"errors"
	"sync"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Renew renews what is due, revokes what was replaced, and finds out what must be replaced: see
// VolumeLeases.NamesByKey. It does what it can in callTimeout, for all leases at once, so that a Vault that hangs holds
// up neither the leases of another nor the rest of the request; what fails is tried at the next request.
func (m *Manager) Renew(ctx context.Context, v *VolumeLeases, workload *auth.Workload) {
	ctx, cancel := context.WithTimeout(transport.OnBehalfOf(ctx, v.Volume.Namespace), callTimeout)
	defer cancel()
	there := make([]bool, len(v.Leases))
	var group sync.WaitGroup
	for i := range v.Leases {
		l := &v.Leases[i]
		there[i] = true // what nobody could find out is kept
		group.Go(fault.Guarded(ctx, func() {
			there[i] = m.maintain(ctx, l, v.token(l), workload, v.Volume.Namespace)
		}))
	}
	group.Wait()
	kept := v.Leases[:0]
	for i, l := range v.Leases {
		if there[i] {
			kept = append(kept, l)
		}
	}
	v.Leases = kept
}

// maintain does what is due for one lease and tells whether it is still there. That is for Vault to say: the volume's
// state may be behind, because a response with a newer one did not reach the node, and clocks differ.
func (m *Manager) maintain(
	ctx context.Context, l *Lease, kept Token, workload *auth.Workload, namespace string,
) bool {
	now := m.clock.Now()
	if l.LeaseID == "" {
		l.replaceNow = passed(l.replaceAt(), now)
		return true
	}
	m.renewed.apply(namespace, l)
	session, done, err := m.begin(ctx, l, kept, namespace, workload)
	if err != nil {
		l.replaceNow = passed(l.replaceAt(), now)
		return !fault.Is(err, v1alpha1.ReasonConfigNotFound) || m.maintainOrphan(ctx, l, kept, namespace)
	}
	defer done()
	if l.RevokeAt.IsZero() {
		m.extendToken(ctx, session, l, kept, namespace, workload)
	}
	switch {
	case !l.RevokeAt.IsZero():
		return !passed(l.RevokeAt, now) || !m.revokeReplaced(ctx, session, l)
	case passed(l.renewAt(), now):
		return m.renew(ctx, session, l, namespace)
	}
	l.replaceNow = passed(l.replaceAt(), now)
	_, err = secrets.LookUpLease(ctx, session, l.id())
	return !errors.Is(err, secrets.ErrLeaseGone) // any other failure says nothing about the lease
}

// maintainOrphan is maintain for a lease whose VaultConfig is gone: it is left to the pod, and revoked with what is
// left of the session when the pod needs it no more.
func (m *Manager) maintainOrphan(ctx context.Context, l *Lease, kept Token, namespace string) bool {
	now := m.clock.Now()
	switch {
	case l.expired(now):
		leases.WithLabelValues(actionLeft).Inc()
		return false
	case !passed(l.RevokeAt, now):
		return true
	}
	err := m.revokeLease(ctx, l, kept, namespace)
	return err != nil && m.keepReplaced(err, l)
}

// renew renews a lease and tells whether it is still there. What cannot be renewed, or not for long, is to be replaced.
func (m *Manager) renew(ctx context.Context, session *session.Session, l *Lease, namespace string) bool {
	id := l.id()
	renewed, err := secrets.RenewLease(ctx, session, id, l.Duration)
	now := m.clock.Now()
	switch {
	case err == nil:
		leases.WithLabelValues(actionRenewed).Inc()
		l.Since, l.Expires = now, now.Add(renewed.Duration)
		m.renewed.record(namespace, l.Name, term{l.Since, l.Expires})
		l.replaceNow = renewed.Duration < l.Duration/2 || passed(l.replaceAt(), now)
	case errors.Is(err, secrets.ErrLeaseGone):
		if _, err = secrets.LookUpLease(ctx, session, id); errors.Is(err, secrets.ErrLeaseGone) {
			return false
		}
		l.replaceNow = true
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		l.replaceNow = true
	default:
		l.replaceNow = passed(l.replaceAt(), now)
	}
	return true
}
