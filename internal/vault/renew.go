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

func (s *Session) newIdentity(base *link, c credential, granted *grant) *identity {
	now := s.sessions.clock.Now()
	next := &identity{base: base, link: granted.link, credential: c, token: granted.token, info: granted.info, since: now, usage: newUsage()}
	if next.link == nil {
		next.link = base
	}
	if !granted.info.FromLogin && granted.info.created != 0 {
		next.usage.id = fmt.Sprintf("%s/%d+%s", s.config.UID, granted.info.created, granted.info.CreationTTL)
	}
	// A batch token cannot be revoked.
	if granted.info.FromLogin && granted.info.Type != "batch" {
		next.usage.end = func() {
			s.sessions.revocations.add(revocation{link: next.link, token: next.token, namespace: s.method.namespace(), as: s.as()})
		}
	}
	next.renewAt = s.renewalOf(next.info)
	return next
}

// renewalOf is when to extend a token's life, or to log in anew where it cannot be extended; zero if there is nothing to do.
func (s *Session) renewalOf(info TokenInfo) time.Time {
	if info.ExpireTime.IsZero() || !info.extendable() && !info.FromLogin {
		return time.Time{}
	}
	return s.sessions.clock.Now().Add(RenewAfter(info.TTL, string(s.config.UID)))
}

// RenewAfter is two thirds of a lease, or up to a tenth of the lease less. The part is taken from the owner and not from a
// random number, so that a time that was shown does not move, and what came together does not come together for ever.
func RenewAfter(lease time.Duration, owner string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(owner))
	const parts = 1000
	early := lease / 10 / parts * time.Duration(hash.Sum32()%parts)
	return lease*2/3 - early
}

// NextRenewal is when Renew should be called: after about two thirds of what was left of the token's life at the last login or
// renewal, spread a little so that many sessions do not come at once. It does not move between two renewals. It is zero when
// there is nothing to do: the token never expires, or it was not obtained by login and is not renewable, or its max TTL is reached.
func (s *Session) NextRenewal() time.Time {
	if current := s.currentIdentity(); current != nil {
		return current.renewAt
	}
	return time.Time{}
}

// Renew extends the token's life, concurrent callers together. It asks auth/token/renew-self for the token's creation TTL once
// more. If Vault grants less, the token's max TTL caps it: MaxTTLReached is set, and the token dies at ExpireTime.
//
// A token that was obtained by login is renewed by every use of the session that comes when NextRenewal has passed, or replaced by
// a new login if renewal cannot extend its life. Renew is such a use; it tells why that failed. Without anything to do it does
// nothing. Errors are faults; AuthFailed if the token is dead already.
func (s *Session) Renew(ctx context.Context) error {
	if s.method.ours() {
		if _, err := s.ready(ctx); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.extension != nil {
			return s.extension.err
		}
		return nil
	}
	return s.do(ctx, func(ctx context.Context, current *identity) error {
		if !current.info.extendable() {
			return nil
		}
		_, err := s.share(ctx, "renew", func(ctx context.Context) (*identity, error) { return s.renew(ctx, current) })
		return err
	})
}

// extensionDue: it is time to keep a token alive that was obtained by login. The caller holds the lock.
func (s *Session) extensionDue(now time.Time) bool {
	switch current := s.identity; {
	case current == nil, !current.info.FromLogin, !s.autoRenew(), current.renewAt.IsZero(), now.Before(current.renewAt):
		return false
	}
	return s.extension == nil || !now.Before(s.extension.until)
}

func (s *Session) autoRenew() bool { return s.config.Spec.AutoRenew == nil || *s.config.Spec.AutoRenew }

// extend keeps a living token alive if that is due. If it cannot, the token is used for as long as it lives.
func (s *Session) extend(ctx context.Context, link *link, c credential, current *identity) *identity {
	s.mu.Lock()
	due := s.extensionDue(s.sessions.clock.Now())
	s.mu.Unlock()
	if !due {
		return s.confirm(current)
	}
	if current.info.extendable() {
		next, err := s.renew(ctx, current)
		switch {
		case err == nil:
			return s.confirm(next)
		case fault.From(err).Class == fault.ClassTransient && !fault.Is(err, v1alpha1.ReasonVaultError):
			s.setBack(err)
			return s.confirm(current)
		}
		// The token is dead, or may not renew itself, or is so close to its max TTL that Vault calls that an error of its own (500).
	}
	// The new token is there before the old one is given up.
	err := s.rejection(c)
	if err == nil {
		var next *identity
		if next, err = s.login(ctx, link, c, current); err == nil {
			return next
		}
	}
	s.setBack(err)
	return s.confirm(current)
}

// confirm notes that the identity is in accord with the credential as of now.
func (s *Session) confirm(current *identity) *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = s.sessions.clock.Now()
	return current
}

func (s *Session) renew(ctx context.Context, current *identity) (*identity, error) {
	r := request{
		method:     http.MethodPost,
		path:       "auth/token/renew-self",
		body:       map[string]string{"increment": fmt.Sprintf("%ds", int64(current.info.CreationTTL/time.Second))},
		token:      &current.token,
		namespace:  s.method.namespace(),
		capability: `"update"`,
		as:         s.as(),
	}
	a, err := current.link.call(ctx, r)
	if err != nil {
		return nil, err
	}
	if a.Auth == nil {
		return nil, fault.Transient(v1alpha1.ReasonVaultError, "%s → %d without a lease (%s)", r, a.status, r.as)
	}
	lease := time.Duration(a.Auth.LeaseDuration) * time.Second
	next := *current
	next.info = current.info.renewed(lease, a.Auth.Renewable, s.sessions.clock.Now())
	next.renewAt = s.renewalOf(next.info)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.identity == current { // else the credential changed meanwhile
		s.identity, s.extension = &next, nil
	}
	return &next, nil
}
