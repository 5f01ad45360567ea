package session

import (
	"context"
	"crypto/sha256"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// handleForbidden finds out why Vault denied a request. It returns another login if the credential changed or a new login gave one,
// the same one if the token is good, and a fault if it is dead.
func (s *Session) handleForbidden(ctx context.Context, denied *login) (*login, error) {
	return s.share(ctx, "forbidden", func(ctx context.Context) (*login, error) {
		if current := s.current(); current != nil && current.ref != denied.ref {
			return current, nil // another caller was faster
		}
		s.invalidate()
		next, err := s.share(ctx, "refresh", s.refresh)
		if err != nil || next.ref != denied.ref {
			return next, err
		}
		_, err = auth.LookUp(ctx, denied.conn, denied.token, s.method.Namespace(), s.Actor(), s.method.Remedy())
		dead := fault.Is(err, v1alpha1.ReasonAuthFailed)
		switch {
		case !dead && !s.mayHaveNewPolicies():
			return denied, nil // if Vault did not answer, its denial is still the best that is known
		case !s.method.IssuesToken():
			s.clearToken()
			return nil, s.reject(denied.credential, err)
		case dead:
			denied.ref.Invalidate()
			s.clearToken()
		}
		return s.logInAnew(ctx, denied, dead)
	})
}

// logInAnew replaces a token that is dead, or that may lack policies. In the latter case nothing is lost if that fails.
func (s *Session) logInAnew(ctx context.Context, denied *login, dead bool) (*login, error) {
	err := s.rejected(denied.credential)
	var next *login
	if err == nil {
		next, err = s.logIn(ctx, denied.base, denied.credential, denied)
	}
	switch {
	case err != nil && !dead:
		return denied, nil
	case err != nil:
		return nil, err
	case !dead:
		s.policiesRechecked(next, slices.Equal(next.info.Policies, denied.info.Policies))
	}
	return next, nil
}

// mayHaveNewPolicies: a token has the policies that its role had at the login. What is denied to it may have been granted since.
func (s *Session) mayHaveNewPolicies() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.method.IssuesToken() && !s.method.LimitsLogins() && !s.policyRecheck.held(s.now())
}

// policiesRechecked notes what came of a login that was made to see whether there are new policies: one request that is always denied
// must not make for a login every few minutes for ever.
func (s *Session) policiesRechecked(next *login, inVain bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if inVain {
		s.policyRecheck.fail(next.since, [sha256.Size]byte{}, nil)
		return
	}
	s.policyRecheck.reset()
	s.policyRecheck.hold(next.since)
}
