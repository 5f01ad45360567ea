package session

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// NextRenewal is when Renew should be called: after about two thirds of what was left of the token's life at the last login or
// renewal, spread a little so that many sessions do not come at once. It does not move between two renewals. It is zero when
// there is nothing to do: the token never expires, or it was not obtained by login and is not renewable, or its max TTL is reached.
func (s *Session) NextRenewal() time.Time {
	if current := s.current(); current != nil {
		return current.renewAt
	}
	return time.Time{}
}

// renewalDue: it is time to keep a token alive that was obtained by login. The caller holds the lock.
func (s *Session) renewalDue(now time.Time) bool {
	autoRenew := s.config.Spec.AutoRenew == nil || *s.config.Spec.AutoRenew
	switch current := s.login; {
	case current == nil, !current.info.FromLogin, !autoRenew, current.renewAt.IsZero(), now.Before(current.renewAt):
		return false
	}
	return !s.renewBackoff.held(now)
}

// keepAlive extends the life of a living token if that is due. If it cannot, the token is used for as long as it lives.
func (s *Session) keepAlive(ctx context.Context, conn *transport.Conn, c auth.Credential, current *login) *login {
	s.mu.Lock()
	due := s.renewalDue(s.now())
	s.mu.Unlock()
	if !due {
		return s.confirm(current)
	}
	if current.info.Extendable() {
		next, err := s.renew(ctx, current)
		switch {
		case err == nil:
			return s.confirm(next)
		case fault.From(err).Class == fault.ClassTransient && !fault.Is(err, v1alpha1.ReasonVaultError):
			s.renewalFailed(err)
			return s.confirm(current)
		}
		// The token is dead, or may not renew itself, or is so close to its max TTL that Vault calls that an error of its own (500).
	}
	// The new token is there before the old one is given up.
	err := s.rejected(c)
	if err == nil {
		var next *login
		if next, err = s.logIn(ctx, conn, c, current); err == nil {
			return next
		}
	}
	s.renewalFailed(err)
	return s.confirm(current)
}

// renewalFailed remembers that the token could not be kept alive this time.
func (s *Session) renewalFailed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewBackoff.fail(s.now(), [sha256.Size]byte{}, notSent(err))
}

// confirm notes that the login is in accord with the credential as of now.
func (s *Session) confirm(current *login) *login {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checked = s.now()
	return current
}

// renew asks auth/token/renew-self for the token's creation TTL once more.
func (s *Session) renew(ctx context.Context, current *login) (*login, error) {
	r := transport.Request{
		Method:     http.MethodPost,
		Path:       "auth/token/renew-self",
		Body:       map[string]string{"increment": fmt.Sprintf("%ds", int64(current.info.CreationTTL/time.Second))},
		Token:      &current.token,
		Namespace:  s.method.Namespace(),
		Capability: `"update"`,
		Actor:      s.Actor(),
	}
	response, err := current.conn.Call(ctx, r)
	if err != nil {
		return nil, err
	}
	if response.Auth == nil {
		return nil, fault.Transient(v1alpha1.ReasonVaultError, "%s → %d without a lease (%s)", r, response.Status, r.Actor)
	}
	life := time.Duration(response.Auth.LeaseDuration) * time.Second
	next := *current
	next.info = current.info.Renewed(life, response.Auth.Renewable, s.now())
	next.renewAt = s.renewalTime(next.info)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login == current { // else the credential changed meanwhile
		s.login = &next
		s.renewBackoff.reset()
	}
	return &next, nil
}
