package session

import (
	"context"
	"crypto/sha256"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// handleForbidden finds out why Vault denied a request. It returns another login if the credential changed or a new
// login gave one, the same one if the token is good, and a fault if it is dead.
func (h *tokenHolder) handleForbidden(ctx context.Context, denied *login) (*login, error) {
	if h.fixed {
		return denied, nil
	}
	return h.share(ctx, "forbidden", func(ctx context.Context) (*login, error) {
		if current := h.current(); current != nil && current.ref != denied.ref {
			return current, nil // another caller was faster
		}
		h.invalidate()
		next, err := h.share(ctx, "refresh", h.refresh)
		if err != nil || next.ref != denied.ref {
			return next, err
		}
		_, err = auth.LookUp(ctx, denied.conn, denied.token, denied.namespace, h.actor(), h.method.Remedy())
		dead := fault.Is(err, v1alpha1.ReasonAuthFailed)
		switch {
		case !dead && !h.mayHaveNewPolicies(ctx, denied):
			return denied, nil // if Vault did not answer, its denial is still the best that is known
		case !h.method.IssuesToken():
			h.clearToken()
			return nil, h.reject(denied.credential, err)
		case dead:
			denied.ref.Invalidate()
			h.clearToken()
		}
		return h.logInAnew(ctx, denied, dead)
	})
}

// logInAnew replaces a token that is dead, or that may lack policies. In the latter case nothing is lost if that fails.
func (h *tokenHolder) logInAnew(ctx context.Context, denied *login, dead bool) (*login, error) {
	next, err := h.logIn(ctx, denied.base, denied.credential, denied)
	switch {
	case err != nil && !dead:
		return denied, nil
	case err != nil:
		return nil, err
	case dead:
		return next, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(next.info.Policies, denied.info.Policies) {
		h.policyRecheck.reset()
		h.policyRecheck.hold(next.since)
		return next, nil
	}
	// One request that is always denied must not make for a login every few minutes for ever.
	h.policyRecheck.fail(next.since, [sha256.Size]byte{}, nil)
	return next, nil
}

// mayHaveNewPolicies: a token has the policies that its role had at the login. What is denied to it may have been
// granted since. No login is spent on that where there may be few of them.
func (h *tokenHolder) mayHaveNewPolicies(ctx context.Context, denied *login) bool {
	h.mu.Lock()
	held := h.policyRecheck.held(h.now())
	h.mu.Unlock()
	if !h.method.IssuesToken() || held {
		return false
	}
	made := &auth.LoginResult{Token: denied.token, Info: denied.info}
	logins := h.method.FurtherLogins(ctx, denied.conn, made, denied.credential)
	if !logins.Unknown && !logins.Limited {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.policyRecheck.hold(h.now())
	return false
}
