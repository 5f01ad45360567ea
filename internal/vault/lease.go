package vault

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Lease is what Vault keeps of a secret that was made for one reader: when it ends, so does the secret.
type Lease struct {
	// ID names the lease to Vault. It redacts itself.
	ID LeaseID
	// Duration that Vault granted, from now on.
	Duration time.Duration
	// Renewable is whether Vault lets it be renewed.
	Renewable bool
}

// LeaseID is the name of a lease, which no more shows than a token does: whoever has it can end the lease.
type LeaseID struct{ token }

// NewLeaseID returns the ID that Reveal gave.
func NewLeaseID(text string) LeaseID { return LeaseID{newToken(text)} }

// Reveal returns the ID itself, which is the caller's to guard; empty for the zero LeaseID.
func (l LeaseID) Reveal() string {
	if l.reveal == nil {
		return ""
	}
	return l.reveal()
}

// ErrLeaseGone says that Vault does not know the lease any more. It ran out, or somebody revoked it.
var ErrLeaseGone = errors.New("the lease is gone")

// RenewLease asks for the increment once more, counted from now; Vault may grant less. ErrLeaseGone if the lease cannot be renewed, whatever
// the reason. Source: POST sys/leases/renew.
func (s *Session) RenewLease(ctx context.Context, id LeaseID, increment time.Duration) (Lease, error) {
	a, err := s.lease(ctx, "renew", map[string]any{"lease_id": id.Reveal(), "increment": int64(increment / time.Second)})
	if err != nil {
		return Lease{}, err
	}
	return Lease{ID: id, Duration: time.Duration(a.LeaseDuration) * time.Second, Renewable: a.Renewable}, nil
}

// LookUpLease returns what is left of a lease; ErrLeaseGone if there is none of this ID. Source: POST sys/leases/lookup.
func (s *Session) LookUpLease(ctx context.Context, id LeaseID) (Lease, error) {
	a, err := s.lease(ctx, "lookup", map[string]any{"lease_id": id.Reveal()})
	if err != nil {
		return Lease{}, err
	}
	left := Lease{ID: id, Duration: seconds(a.Data["ttl"])}
	left.Renewable, _ = a.Data["renewable"].(bool)
	return left, nil
}

// RevokeLease ends a lease, and with it the secret. Vault does the latter on its own, and goes on trying if the other system is away. A lease that
// is gone is no error. Source: POST sys/leases/revoke.
func (s *Session) RevokeLease(ctx context.Context, id LeaseID) error {
	_, err := s.lease(ctx, "revoke", map[string]any{"lease_id": id.Reveal()})
	if errors.Is(err, ErrLeaseGone) {
		return nil
	}
	return err
}

func (s *Session) lease(ctx context.Context, operation string, body map[string]any) (*answer, error) {
	var answered *answer
	err := s.do(ctx, func(ctx context.Context, current *identity) error {
		a, err := current.link.call(ctx, request{
			method: http.MethodPost, path: "sys/leases/" + operation, body: body, token: &current.token, capability: `"update"`, as: s.as(),
		})
		if a != nil && a.status == http.StatusBadRequest {
			return ErrLeaseGone
		}
		answered = a
		return err
	})
	return answered, err
}

// leased is the fault of a read that made a lease.
type leased struct{ *fault.Fault }

// Unwrap lets callers find the fault.
func (l *leased) Unwrap() error { return l.Fault }

// MadeLease tells whether Read failed because the secret is made for each reader, with a lease: Issue is for that.
func MadeLease(err error) bool {
	var l *leased
	return errors.As(err, &l)
}

func leaseRefused(r request) error {
	return &leased{fault.Waiting(v1alpha1.ReasonInvalidRequest, "%s → a secret with a lease, made for each reader (%s); only a Connection that a pod mounts can "+
		"have one: use a path that answers without, such as static-creds of the database engine", r, r.as)}
}

// refuseLease refuses a secret that was made for this request and lives as long as its lease, to a reader who would not renew it. The lease is given
// back, if the policy allows that; if not it runs out. The path is not read again: each read makes a credential at the other system.
func (s *Session) refuseLease(ctx context.Context, current *identity, from place, r request, id string) error {
	s.rememberLease(current, from)
	back := request{
		method: http.MethodPost, path: "sys/leases/revoke", body: map[string]any{"lease_id": id},
		token: &current.token, capability: `"update"`, as: s.as(),
	}
	_, _ = current.link.call(ctx, back)
	return leaseRefused(r)
}

func (s *Session) rememberLease(current *identity, from place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.engines[from.engine]
	if s.identity != current || known.leased[from.path] {
		return
	}
	leased := maps.Clone(known.leased)
	if leased == nil {
		leased = map[string]bool{}
	}
	leased[from.path] = true
	known.leased = leased
	s.engines[from.engine] = known
}

// madeLease tells whether a read of the place once made a lease.
func (s *Session) madeLease(from place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engines[from.engine].leased[from.path]
}
