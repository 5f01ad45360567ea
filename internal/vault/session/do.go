package session

import (
	"context"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Conn makes requests with a session's token, which it does not show. It is good for the call of Do that it was made
// for.
type Conn struct {
	session *Session
	login   *login
	// below is the way from the session's namespace of Vault to the one that requests go to; empty: that itself.
	below string
}

// Do makes requests with the session's token. If Vault denies them, it finds out why: with a new token they are tried
// once more; otherwise the token is dead, or the policy does not allow it. Faults of the login are about the object
// that says how to log in.
func (s *Session) Do(ctx context.Context, requests func(context.Context, *Conn) error) error {
	defer s.holder.leave()
	current, err := s.holder.ready(ctx)
	if err != nil {
		return err
	}
	err = s.with(ctx, current, requests)
	switch {
	case fault.Is(err, v1alpha1.ReasonTLSFailed):
		s.holder.invalidateAll()
	case fault.Is(err, v1alpha1.ReasonPermissionDenied):
		next, dead := s.holder.handleForbidden(ctx, current)
		if dead != nil {
			return dead
		}
		if next != current {
			return s.with(ctx, next, requests)
		}
	}
	return err
}

// with makes requests with a login; while they are under way its token is not revoked.
func (s *Session) with(ctx context.Context, current *login, requests func(context.Context, *Conn) error) error {
	release := current.ref.Acquire()
	defer release()
	return requests(ctx, &Conn{session: s, login: current})
}

// Call makes one request with the session's token: see transport.Conn.Call. Who asks is filled in, and the namespace of
// Vault where the request names none.
func (c *Conn) Call(ctx context.Context, r transport.Request) (*transport.Response, error) {
	r.Token, r.Actor = &c.login.token, c.Actor()
	if r.Namespace == "" && c.below != "" {
		r.Namespace = transport.PathBelow(transport.NamespacePath(c.login.conn.Namespace()), c.below)
	}
	return c.login.conn.Call(ctx, r)
}

// In returns a Conn for a namespace of Vault below the session's, given by the way there. It is otherwise the same.
func (c *Conn) In(below string) *Conn {
	inner := *c
	inner.below = below
	return &inner
}

// CheckNamespace is nil unless the Conn is for a namespace of a Vault that has none.
func (c *Conn) CheckNamespace(ctx context.Context) error {
	if c.below == "" || !c.login.conn.LacksNamespaces(ctx) {
		return nil
	}
	return noNamespaces("vaultNamespace", c.below, c.session.holder.config, c.Actor()).
		WithRemedy("leave it out, or name the VaultConfig of a Vault that has namespaces")
}

// Below is the way from the session's namespace of Vault to the one that requests go to; empty: that itself.
func (c *Conn) Below() string { return c.below }

// Session that the requests belong to.
func (c *Conn) Session() *Session { return c.session }

// Actor is how sentences call who asks: VaultConfig shop/prod, auth token.
func (c *Conn) Actor() string { return c.session.Actor() }

// Now is the time by the clock that decides what is due.
func (c *Conn) Now() time.Time { return c.session.holder.now() }

// TokenTerm is which token the requests are made with, and how long it lives.
func (c *Conn) TokenTerm() TokenTerm { return c.login.term() }

// TokenUses is for how many requests the token was made; zero: without limit.
func (c *Conn) TokenUses() int { return c.login.info.NumUses }

// NextRenewal is when Renew should be called: after about two thirds of what was left of the token's life at the last
// login or renewal, spread a little so that many sessions do not come at once. It does not move between two renewals.
// It is zero when there is nothing to do: the token never expires, or it was not obtained by login and is not
// renewable, or its max TTL is reached.
func (s *Session) NextRenewal() time.Time {
	if current := s.holder.current(); current != nil {
		return current.renewAt
	}
	return time.Time{}
}

// Renew extends the token's life, concurrent callers together. It asks auth/token/renew-self for the token's creation
// TTL once more. If Vault gives less, the token's max TTL caps it: MaxTTLReached is set, and the token dies at
// ExpireTime.
//
// A token that was obtained by login is renewed by every use of the session that comes when NextRenewal has passed, or
// replaced by a new login if renewal cannot extend its life. Renew is such a use; it tells why that failed. Without
// anything to do it does nothing. Errors are faults; AuthFailed if the token is dead already.
func (s *Session) Renew(ctx context.Context) error {
	if s.holder.method.IssuesToken() {
		if _, err := s.holder.ready(ctx); err != nil {
			return err
		}
		s.holder.mu.Lock()
		defer s.holder.mu.Unlock()
		return s.holder.about(s.holder.renewBackoff.err)
	}
	return s.Do(ctx, func(ctx context.Context, c *Conn) error {
		if !c.login.info.Extendable() {
			return nil
		}
		_, err := s.holder.share(
			ctx, "renew", func(ctx context.Context) (*login, error) { return s.holder.renew(ctx, c.login) },
		)
		return err
	})
}

// Health is what sys/health says, which needs no token: see Sessions.Health.
func (s *Session) Health(ctx context.Context) (transport.Health, error) {
	conn, err := s.holder.connector.connect(ctx, false)
	if err != nil {
		return transport.Health{}, s.holder.about(err)
	}
	health, err := conn.Health(ctx, s.holder.subject.String())
	if fault.Is(err, v1alpha1.ReasonTLSFailed) {
		s.holder.invalidateAll()
	}
	return health, err
}

// Serves is nil if Vault answers at the path of logins, which needs no token and is no login. Errors are faults.
func (s *Session) Serves(ctx context.Context) error {
	method, logsIn := s.holder.method.(interface {
		Serves(ctx context.Context, conn *transport.Conn) error
	})
	if !logsIn {
		return s.holder.about(fault.Terminal(v1alpha1.ReasonInternal, "%s does not log in", s.holder.actor()))
	}
	conn, err := s.holder.connector.connect(ctx, false)
	if err == nil {
		err = method.Serves(ctx, conn)
	}
	return s.holder.about(err)
}
