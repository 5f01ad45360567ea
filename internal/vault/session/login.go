package session

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// RenewAfter is two thirds of a lease, or up to a tenth of the lease less. The part is taken from the owner and not from a
// random number, so that a time that was shown does not move, and what came together does not come together for ever.
func RenewAfter(lease time.Duration, owner string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(owner))
	const parts = 1000
	early := lease / 10 / parts * time.Duration(hash.Sum32()%parts)
	return lease*2/3 - early
}

// renewalTime is when to extend a token's life, or to log in anew where it cannot be extended; zero if there is nothing to do.
func (s *Session) renewalTime(info auth.TokenInfo) time.Time {
	if info.ExpireTime.IsZero() || !info.Extendable() && !info.FromLogin {
		return time.Time{}
	}
	return s.now().Add(RenewAfter(info.TTL, string(s.config.UID)))
}

// logIn gets the session another token. The former one is given up only then.
func (s *Session) logIn(ctx context.Context, conn *transport.Conn, c auth.Credential, former *login) (*login, error) {
	result, err := s.method.Login(ctx, conn, c)
	switch {
	case fault.Is(err, v1alpha1.ReasonAuthFailed):
		return nil, s.reject(c, err)
	case err != nil:
		return nil, err
	}
	if former != nil && !result.Info.FromLogin && former.credential.Fingerprint == c.Fingerprint {
		result.Info.LastRenewal = former.info.LastRenewal
	}
	return s.adopt(s.newLogin(conn, c, result)), nil //nolint:contextcheck // a revocation outlives the request that leads to it
}

func (s *Session) newLogin(base *transport.Conn, c auth.Credential, result *auth.LoginResult) *login {
	next := &login{
		base: base, conn: result.Conn, credential: c, token: result.Token, info: result.Info, since: s.now(), ref: newTokenRef(),
		renewAt: s.renewalTime(result.Info),
	}
	if next.conn == nil {
		next.conn = base
	}
	if name := result.Info.StableName(); name != "" {
		next.ref.id = fmt.Sprintf("%s/%s", s.config.UID, name)
	}
	// A batch token cannot be revoked.
	if result.Info.FromLogin && result.Info.Type != "batch" {
		next.ref.revoke = func() {
			s.environment.revocations.add(revocation{
				conn: next.conn, token: next.token, namespace: s.method.Namespace(), actor: s.Actor(), pauses: revocationPauses,
			})
		}
	}
	return next
}

// adopt makes a login the session's, as of now in accord with the credential.
func (s *Session) adopt(next *login) *login {
	s.mu.Lock()
	former := s.login
	s.login, s.checked = next, s.now()
	s.loginBackoff.reset()
	s.renewBackoff.reset()
	s.policyRecheck.hold(next.since)
	s.mu.Unlock()
	if former != nil && former.ref != next.ref {
		former.ref.Close()
	}
	return next
}

// reject remembers that Vault does not accept a credential, and returns why.
func (s *Session) reject(c auth.Credential, err error) error {
	err = notSent(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if rejected, ok := errors.AsType[*auth.RejectedError](err); ok && rejected.Retryable {
		s.loginBackoff.fail(s.now(), c.Fingerprint, err)
	} else {
		s.loginBackoff.failForGood(c.Fingerprint, err)
	}
	return err
}

// rejected returns why Vault did not accept this credential earlier, nil if it may be offered.
func (s *Session) rejected(c auth.Credential) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loginBackoff.heldFor(s.now(), c.Fingerprint)
}

// notSent is what a failed login or renewal means to the request that waits for it: that was not sent, so nothing about it is
// unknown.
func notSent(err error) error {
	if fault.OutcomeUnknown(err) {
		return fault.From(err).WithOutcomeUnknown(false)
	}
	return err
}
