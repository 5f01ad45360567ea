package vault

import (
	"context"
	"maps"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// leaseMemory is how long a path that made a lease is not read again. Each read makes a credential at the other system, and whoever checks a
// Connection comes by every few seconds.
const leaseMemory = 10 * time.Minute

// refuseLease refuses a secret that was made for this request and lives as long as its lease: nobody would renew it. The lease is given back,
// if the policy allows that; if not it runs out.
func (s *Session) refuseLease(ctx context.Context, current *identity, from place, r request, lease string) error {
	s.mu.Lock()
	if known := s.engines[from.engine]; s.identity == current {
		leased := maps.Clone(known.leased)
		if leased == nil {
			leased = map[string]time.Time{}
		}
		leased[from.path] = s.sessions.clock.Now()
		known.leased = leased
		s.engines[from.engine] = known
	}
	s.mu.Unlock()
	back := request{
		method: http.MethodPut, path: "sys/leases/revoke", body: map[string]any{"lease_id": lease},
		token: &current.token, capability: `"update"`, as: s.as(),
	}
	_, _ = current.link.call(ctx, back)
	return leaseRefused(r)
}

// makesLeases tells whether a read of the place made a lease not long ago.
func (s *Session) makesLeases(from place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, found := s.engines[from.engine].leased[from.path]
	return found && s.sessions.clock.Now().Sub(at) < leaseMemory
}

func leaseRefused(r request) error {
	return fault.Wait(v1alpha1.ReasonInvalidRequest, "%s → a secret with a lease, and dynamic secrets are not supported yet (%s); "+
		"use a path that answers without one, such as static-creds of the database engine", r, r.as)
}
