package session

import (
	"context"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
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
	// Way on which it was obtained, as WayTo names it: it is not sent on another.
	Way string
	// Route is that way whole; nil if it cannot be kept.
	Route *Route
}

// Format prints none of it, for every verb.
func (LeaseToken) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "token [redacted]") }

// Route is a way to Vault with all that decides who answers there, so that leases can be revoked when the VaultConfig
// and what it trusts are gone from Kubernetes. The names in JSON are those of the encrypted state of leases.
type Route struct {
	URL            string `json:"url"`
	VaultNamespace string `json:"vaultNamespace,omitempty"`
	// CACertificate is the PEM bundle that was trusted; empty: the public authorities.
	CACertificate string `json:"caCertificate,omitempty"`
	ServerName    string `json:"serverName,omitempty"`
	Proxy         string `json:"proxy,omitempty"`
}

// routeOf is the route of a connection of a VaultConfig; nil if a client certificate or headers belong to it, which are
// as secret as a token and its owner's, or a CA bundle that is too long.
func routeOf(config *v1alpha1.VaultConfig, t *transport.Transport) *Route {
	certificates, known := t.Trust.Certificates()
	if !known || t.ClientCertificate != nil || len(config.Spec.Headers) > 0 {
		return nil
	}
	route := &Route{
		URL: config.Spec.URL, VaultNamespace: config.Spec.VaultNamespace,
		CACertificate: certificates, ServerName: t.ServerName,
	}
	if config.Spec.Proxy != nil {
		route.Proxy = config.Spec.Proxy.URL
	}
	return route
}

// config is a VaultConfig that has the route. It says that it logs in with a token, for sentences; nobody reads one.
func (r *Route) config(of types.NamespacedName) *v1alpha1.VaultConfig {
	config := &v1alpha1.VaultConfig{ObjectMeta: metav1.ObjectMeta{Namespace: of.Namespace, Name: of.Name, UID: "gone"}}
	config.Spec = v1alpha1.VaultConfigSpec{
		URL: r.URL, VaultNamespace: r.VaultNamespace, CACertificate: r.CACertificate,
		Auth: v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{
			SecretKeyRef: v1alpha1.SecretKeyReference{Name: of.Name, Key: "token"},
		}},
	}
	if r.ServerName != "" {
		config.Spec.TLS = &v1alpha1.VaultTLS{ServerName: r.ServerName}
	}
	if r.Proxy != "" {
		config.Spec.Proxy = &v1alpha1.VaultProxy{URL: r.Proxy}
	}
	return config
}

// LeaseToken is the token that the requests are made with, if it is worth keeping: it was obtained by login, may be
// renewed, and as often as need be. One that its owner put into a Secret every process finds there.
func (c *Conn) LeaseToken() (token LeaseToken, worthKeeping bool) {
	current, holder := c.login, c.session.holder
	if !current.info.FromLogin || !current.info.Extendable() || current.info.NumUses > 0 || !mayRenew(holder.config) {
		return LeaseToken{}, false
	}
	return LeaseToken{
		Token: current.token, ID: current.ref.id, Namespace: current.namespace,
		CreationTTL: current.info.CreationTTL, ExpireTime: current.info.ExpireTime, Way: WayTo(holder.config),
		Route: routeOf(holder.config, current.conn.Transport()),
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
	if kept.Way != WayTo(config) {
		return nil, about(fault.Waiting(v1alpha1.ReasonAuthFailed,
			"the token of a lease was obtained on another way to Vault than that of %s now, and is not sent there",
			transport.SubjectOf(config)).WithRemedy("let it trust and go over what it did"), config)
	}
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
	return &Session{holder: fixedHolder(holder, kept.login(conn, holder.now()))}, nil
}

// login is the token as a session has it that makes requests over conn.
func (t LeaseToken) login(conn *transport.Conn, now time.Time) *login {
	return &login{
		base: conn, conn: conn, token: t.Token, namespace: t.Namespace, since: now, ref: &tokenRef{id: t.ID},
		info: auth.TokenInfo{
			FromLogin: true, Renewable: true, CreationTTL: t.CreationTTL, TTL: t.CreationTTL, ExpireTime: t.ExpireTime,
		},
	}
}

// WithRoute returns a session that makes requests with the token of a lease whose VaultConfig, of that name, is gone,
// on the way on which it was obtained, until done is called. The token must have a route. It is neither looked up,
// renewed nor revoked. Errors are faults.
func (s *Sessions) WithRoute(
	ctx context.Context, config types.NamespacedName, kept LeaseToken,
) (session *Session, done func(), err error) {
	env := s.set.environment.apart()
	env.reader, env.source, env.leading = s.set.environment.reader, auth.FromSpec, s.set.environment.leading
	own := newSessionSet(env)
	route := kept.Route.config(config)
	done = func() { own.forget(route.UID) }
	from, err := own.session(route, nil)
	if err != nil {
		return nil, nil, err
	}
	conn, err := from.holder.connector.connect(ctx, false)
	if err != nil {
		done()
		return nil, nil, from.holder.about(err)
	}
	return &Session{holder: fixedHolder(from.holder, kept.login(conn, env.clock.Now()))}, done, nil
}
