package session

import (
	"cmp"
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

// lookAgainAfter is when a token is looked up again that may not look itself up.
const lookAgainAfter = 3 * time.Minute

// renewalDue: it is time to keep a token alive that was obtained by login. The caller holds the lock.
func (h *tokenHolder) renewalDue(now time.Time) bool {
	switch current := h.login; {
	case current == nil, !current.info.FromLogin, !mayRenew(h.config),
		current.renewAt.IsZero(), now.Before(current.renewAt):
		return false
	}
	return !h.renewBackoff.held(now)
}

// mayRenew tells whether Sallyport may keep tokens alive.
func mayRenew(config *v1alpha1.VaultConfig) bool {
	return config.Spec.AutoRenew == nil || *config.Spec.AutoRenew
}

// keepAlive extends the life of a living token if that is due. If it cannot, the token is used for as long as it lives.
func (h *tokenHolder) keepAlive(ctx context.Context, conn *transport.Conn, c auth.Credential, current *login) *login {
	h.mu.Lock()
	due := h.renewalDue(h.now())
	h.mu.Unlock()
	if !due {
		return h.confirm(current)
	}
	if current.info.Extendable() {
		next, err := h.renew(ctx, current)
		switch {
		case err == nil:
			return h.confirm(next)
		case fault.From(err).Class == fault.ClassTransient && !fault.Is(err, v1alpha1.ReasonVaultError):
			h.renewalFailed(err)
			return h.confirm(current)
		}
		// The token is dead, or may not renew itself, or is so close to its max TTL that Vault calls that an error of
		// its own (500).
	}
	// The new token is there before the old one is given up.
	next, err := h.logIn(ctx, conn, c, current)
	if err == nil {
		return next
	}
	h.renewalFailed(err)
	return h.confirm(current)
}

// askAgainAfter is when Vault is asked again for how many logins a secret ID is good, where it did not tell.
const askAgainAfter = time.Hour

// lookAgain looks a token up that could not be looked up, and its credential, for its policies may allow that by now.
func (h *tokenHolder) lookAgain(ctx context.Context, current *login) *login {
	now := h.now()
	next := *current
	next.looked = now
	switch {
	case current.info.Opaque && now.Sub(current.looked) >= lookAgainAfter:
	case current.info.Logins.Denied != "" && now.Sub(current.looked) >= askAgainAfter:
		made := &auth.LoginResult{Token: current.token, Info: current.info}
		next.info.Logins = h.method.FurtherLogins(ctx, current.conn, made, current.credential)
		return h.replace(current, &next)
	default:
		return current
	}
	info, err := auth.LookUp(ctx, current.conn, current.token, current.namespace, h.actor(), h.method.Remedy())
	if err == nil && !info.Opaque {
		next.info, next.renewAt = info, renewalTime(info, now, h.config.UID)
		next.namespace = cmp.Or(info.Namespace, current.namespace)
	}
	return h.replace(current, &next)
}

// replace what is known of a login, unless it is another by now.
func (h *tokenHolder) replace(current, next *login) *login {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.login == current { // else the credential changed meanwhile
		h.login = next
	}
	return next
}

// renewalFailed remembers that the token could not be kept alive this time.
func (h *tokenHolder) renewalFailed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewBackoff.fail(h.now(), [sha256.Size]byte{}, notSent(err))
}

// confirm notes that the login is in accord with the credential as of now.
func (h *tokenHolder) confirm(current *login) *login {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checked = h.now()
	return current
}

// renew asks auth/token/renew-self for the token's creation TTL once more.
func (h *tokenHolder) renew(ctx context.Context, current *login) (*login, error) {
	r := transport.Request{
		Method:     http.MethodPost,
		Path:       "auth/token/renew-self",
		Body:       map[string]string{"increment": fmt.Sprintf("%ds", int64(current.info.CreationTTL/time.Second))},
		Token:      &current.token,
		Namespace:  current.namespace,
		Capability: `"update"`,
		Actor:      h.actor(),
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
	next.info = current.info.Renewed(life, response.Auth.Renewable, h.now())
	next.renewAt = renewalTime(next.info, h.now(), h.config.UID)

	h.replace(current, &next)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewBackoff.reset()
	return &next, nil
}
