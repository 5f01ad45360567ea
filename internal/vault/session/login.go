package session

import (
	"cmp"
	"context"
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// logIn gets the holder another token. The former one is given up only then.
func (h *tokenHolder) logIn(
	ctx context.Context, conn *transport.Conn, c auth.Credential, former *login,
) (*login, error) {
	release, err := h.offers.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := h.offers.held(c); err != nil {
		return nil, err
	}
	result, err := h.method.Login(ctx, conn, c)
	switch {
	case fault.Is(err, v1alpha1.ReasonAuthFailed):
		return nil, h.reject(c, err)
	case err != nil:
		return nil, err
	}
	h.offers.accept(c)
	result.Info.Logins = h.method.FurtherLogins(ctx, wayFor(conn, result), result, c)
	if former != nil && !result.Info.FromLogin && former.credential.Fingerprint == c.Fingerprint {
		result.Info.LastRenewal = former.info.LastRenewal
	}
	next := h.newLogin(conn, c, result) //nolint:contextcheck // a revocation outlives the request that leads to it
	return h.setLogin(next), nil
}

func (h *tokenHolder) newLogin(base *transport.Conn, c auth.Credential, result *auth.LoginResult) *login {
	now := h.now()
	next := &login{
		base: base, conn: wayFor(base, result), credential: c, token: result.Token, info: result.Info,
		since: now, looked: now, ref: newTokenRef(),
		namespace: cmp.Or(result.Info.Namespace, h.method.Namespace()),
		renewAt:   renewalTime(result.Info, now, h.config.UID),
	}
	if name := result.Info.StableName(); name != "" {
		next.ref.id = fmt.Sprintf("%s/%s/%s", h.config.Namespace, h.config.Name, name)
	}
	// A batch token cannot be revoked.
	if result.Info.FromLogin && result.Info.Type != "batch" {
		next.ref.revoke = func() {
			h.environment.revocations.add(revocation{
				conn: wayOf(h, next), token: next.token, namespace: next.namespace, owner: h.config.Namespace,
				actor: h.actor(), pauses: revocationPauses,
			})
		}
	}
	return next
}

// setLogin makes a login the holder's, as of now in accord with the credential.
func (h *tokenHolder) setLogin(next *login) *login {
	h.mu.Lock()
	former := h.login
	h.login, h.checked = next, h.now()
	h.renewBackoff.reset()
	h.policyRecheck.hold(next.since)
	parked := h.parked
	h.parked = nil
	turn(h, false)
	h.mu.Unlock()
	if former != nil && former.ref != next.ref {
		former.ref.Close()
	}
	if parked != nil {
		parked.ref.Close()
	}
	return next
}

// reject remembers that Vault does not accept a credential, and returns why.
func (h *tokenHolder) reject(c auth.Credential, err error) error {
	err = notSent(err)
	h.offers.reject(c, err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.login == nil {
		turn(h, true)
	}
	return err
}

// notSent is what a failed login or renewal means to the request that waits for it: that was not sent, so nothing about
// it is unknown.
func notSent(err error) error {
	if fault.OutcomeUnknown(err) {
		return fault.From(err).WithOutcomeUnknown(false)
	}
	return err
}

// wayOf is the way to Vault for requests with a login's token as it is now: certificates may have changed.
func wayOf(h *tokenHolder, of *login) *transport.Conn {
	if latest := h.connector.latest(); latest != nil && of.conn == of.base {
		return latest
	}
	return of.conn
}

// wayFor is the way to Vault that a new token is good for.
func wayFor(conn *transport.Conn, made *auth.LoginResult) *transport.Conn {
	return cmp.Or(made.Conn, conn)
}
