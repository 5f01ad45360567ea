package transport

import (
	"cmp"
	"context"
	"time"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/tracing"
)

// Conn is one session's way to Vault, without a token: a Transport, and what the VaultConfig says of the requests on
// it.
type Conn struct {
	transport *Transport
	// namespace of Vault that requests go to; empty: the root.
	namespace string
	// timeout of one request, its response included.
	timeout time.Duration
	limiter *RequestLimiter
	pool    *Pool
	// subject is the object that says how to reach Vault.
	subject fault.Subject
}

// Settings say what a VaultConfig wants of the requests on a Conn.
type Settings struct {
	// Namespace of Vault that requests go to; empty: the root.
	Namespace string
	// Timeout of one request, its response included.
	Timeout time.Duration
	Limiter *RequestLimiter
	// Subject is the object that says how to reach Vault. Faults of the way there are about it.
	Subject fault.Subject
}

// NewConn returns a Conn over one of the pool's transports.
func (p *Pool) NewConn(t *Transport, s Settings) *Conn {
	return &Conn{transport: t, namespace: s.Namespace, timeout: s.Timeout, limiter: s.Limiter, pool: p, subject: s.Subject}
}

// Transport that the Conn uses.
func (c *Conn) Transport() *Transport { return c.transport }

// WithClientCertificate returns a Conn that shows this client certificate, and is the same otherwise.
func (c *Conn) WithClientCertificate(certificate *ClientCertificate) (*Conn, error) {
	config := c.transport.Config
	config.ClientCertificate = certificate
	t, err := c.pool.Get(config)
	if err != nil {
		return nil, err
	}
	other := *c
	other.transport = t
	return &other, nil
}

// Namespace of Vault that requests go to which name none; empty: the root.
func (c *Conn) Namespace() string { return c.namespace }

// Now is the time by the clock that decides what is due.
func (c *Conn) Now() time.Time { return c.transport.clock.Now() }

// anonymous is the same way as nobody's: without namespace, limits and time-out of a VaultConfig.
func (c *Conn) anonymous() *Conn {
	return &Conn{transport: c.transport, timeout: c.transport.healthTimeout, subject: c.subject}
}

// span begins the span of a request.
func (c *Conn) span(ctx context.Context, r Request) (context.Context, tracing.Span) {
	ctx, span := tracing.Start(ctx, tracing.Client, "vault", r.operation())
	span.About(c.subject)
	return ctx, span
}

// userOf is the namespace whose share a request takes: who makes it, or else the one of who says how to reach Vault.
func (c *Conn) userOf(ctx context.Context) string { return cmp.Or(userOf(ctx), c.subject.Namespace) }

// aboutSubject says that a fault is about the object that names this Vault.
func (c *Conn) aboutSubject(f *fault.Fault) error {
	if c.subject == (fault.Subject{}) {
		return f
	}
	return fault.About(f, c.subject)
}
