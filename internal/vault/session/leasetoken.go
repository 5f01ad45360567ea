package session

import (
	"context"
	"fmt"
	"io"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// LeaseToken is a token from a login that a lease was issued with and ends with, so that whoever has it can keep both
// alive when the process that logged in is gone. It redacts itself.
type LeaseToken struct {
	Token transport.Token
	// ID is the process's name for the token, as in TokenTerm.
	ID string
	// Namespace of Vault that the token lives in.
	Namespace string
	// CreationTTL is what renewals ask for.
	CreationTTL time.Duration
	// ExpireTime is when it dies if it is not renewed.
	ExpireTime time.Time
}

// Format prints none of it, for every verb.
func (LeaseToken) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "token [redacted]") }

// LeaseToken is the token that the requests are made with, if it is worth keeping: it was obtained by login, may be
// renewed, and as often as need be. One that its owner put into a Secret every process finds there.
func (c *Conn) LeaseToken() (token LeaseToken, worthKeeping bool) {
	current, holder := c.login, c.session.holder
	if !current.info.FromLogin || !current.info.Extendable() || current.info.NumUses > 0 || !mayRenew(holder.config) {
		return LeaseToken{}, false
	}
	return LeaseToken{
		Token: current.token, ID: current.ref.id, Namespace: current.namespace,
		CreationTTL: current.info.CreationTTL, ExpireTime: current.info.ExpireTime,
	}, true
}

// LeaseIssued notes that a lease depends on the session, and on the token that the requests are made with: that is not
// revoked before LeaseEnded. When the session ends, or can log in no more, the lease can be revoked with its last login
// for a while: see Sessions.Draining.
func (c *Conn) LeaseIssued(lease string) {
	c.LeaseServed()
	if c.login.ref.revocable() {
		holder := c.session.holder
		holder.environment.leases.add(holder.config, lease, c.login.ref)
	}
}

// LeaseServed notes that a lease depends on the session, whoever issued it.
func (c *Conn) LeaseServed() {
	c.session.holder.mu.Lock()
	defer c.session.holder.mu.Unlock()
	c.session.holder.servesLeases = true
}

// LeaseEnded notes that a lease is gone.
func (c *Conn) LeaseEnded(lease string) {
	c.session.holder.environment.leases.end(c.session.holder.config, lease)
}

// ExtendToken renews the session's token now, if Vault lets it be renewed and the VaultConfig does not forbid it, and
// returns its term. Errors are faults.
func (s *Session) ExtendToken(ctx context.Context) (TokenTerm, error) {
	var term TokenTerm
	err := s.Do(ctx, func(ctx context.Context, c *Conn) error {
		term = c.TokenTerm()
		if !c.login.info.Extendable() || !mayRenew(s.holder.config) {
			return nil
		}
		next, err := s.holder.share(
			ctx, "renew", func(ctx context.Context) (*login, error) { return s.holder.renew(ctx, c.login) },
		)
		if err == nil {
			term = next.term()
		}
		return err
	})
	return term, err
}

// WithLeaseToken returns a session that makes requests with the token of a lease, on the VaultConfig's way to Vault: it
// never logs in. Errors are faults.
func (s *Sessions) WithLeaseToken(
	ctx context.Context, config *v1alpha1.VaultConfig, workload *auth.Workload, kept LeaseToken,
) (*Session, error) {
	if !auth.IsWorkload(config) {
		workload = nil
	}
	own, err := s.set.session(config, workload)
	if err != nil {
		return nil, err
	}
	holder := own.holder
	conn, err := holder.connector.connect(ctx, false)
	if err != nil {
		return nil, holder.about(err)
	}
	if current := holder.current(); current != nil { // its token may be bound to a client certificate
		conn = current.conn
	}
	last := &login{
		base: conn, conn: conn, token: kept.Token, namespace: kept.Namespace, since: holder.now(),
		ref: &tokenRef{id: kept.ID},
		info: auth.TokenInfo{
			FromLogin: true, Renewable: true, CreationTTL: kept.CreationTTL, TTL: kept.CreationTTL, ExpireTime: kept.ExpireTime,
		},
	}
	return &Session{holder: fixedHolder(holder, last)}, nil
}
