package vault

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func (s *Session) newIdentity(l *link, c credential, t token, info TokenInfo) *identity {
	next := &identity{link: l, credential: c, token: t, info: info}
	if info.extendable() {
		next.renewAt = s.sessions.clock.Now().Add(renewAfter(info.TTL, string(s.config.UID)))
	}
	return next
}

// renewAfter is two thirds of a lease, or up to a tenth of the lease less. The part is taken from the owner and not from a
// random number, so that a time that was shown does not move.
func renewAfter(lease time.Duration, owner string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(owner))
	const parts = 1000
	early := lease / 10 / parts * time.Duration(hash.Sum32()%parts)
	return lease*2/3 - early
}

// NextRenewal is when Renew should be called: after about two thirds of what was left of the token's life at the last login or
// renewal, spread a little so that many sessions do not come at once. It does not move between two renewals. It is zero when
// there is nothing to renew: the token never expires, is not renewable, or its max TTL is reached.
func (s *Session) NextRenewal() time.Time {
	if current := s.currentIdentity(); current != nil {
		return current.renewAt
	}
	return time.Time{}
}

// Renew asks auth/token/renew-self for the token's creation TTL once more. If Vault grants less, the token's max TTL
// caps it: MaxTTLReached is set, and the token dies at ExpireTime. Without anything to renew it does nothing; concurrent callers
// share one renewal. Errors are faults; AuthFailed if the token is dead already.
func (s *Session) Renew(ctx context.Context) error {
	return s.do(ctx, func(ctx context.Context, current *identity) error {
		if !current.info.extendable() {
			return nil
		}
		_, err := s.share(ctx, "renew", func(ctx context.Context) (*identity, error) { return s.renew(ctx, current) })
		return err
	})
}

func (s *Session) renew(ctx context.Context, current *identity) (*identity, error) {
	r := request{
		method:     http.MethodPost,
		path:       "auth/token/renew-self",
		body:       map[string]string{"increment": fmt.Sprintf("%ds", int64(current.info.CreationTTL/time.Second))},
		token:      &current.token,
		capability: `"update"`,
		as:         s.as(),
	}
	a, err := current.link.call(ctx, r)
	if err != nil {
		return nil, err
	}
	if a.Auth == nil {
		return nil, fault.New(v1alpha1.ReasonVaultError, "%s → %d without a lease (%s)", r, a.status, r.as)
	}
	lease := time.Duration(a.Auth.LeaseDuration) * time.Second
	info := current.info.renewed(lease, a.Auth.Renewable, s.sessions.clock.Now())
	next := s.newIdentity(current.link, current.credential, current.token, info)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity == current { // else the credential changed meanwhile
		s.identity = next
	}
	return next, nil
}
