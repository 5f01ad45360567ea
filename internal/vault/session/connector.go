package session

import (
	"context"
	"sync"
	"time"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// recheckInterval is how often what a session was made from is compared with what it is now: the Secret, the CA
// certificate and the headers.
const recheckInterval = time.Minute

// connector makes the way to Vault that a VaultConfig describes, and makes it anew when certificates or headers change.
type connector struct {
	environment   *environment
	config        *v1alpha1.VaultConfig
	origin, proxy string
	limiter       *transport.RequestLimiter

	mu sync.Mutex
	// conn is nil until it is first needed.
	conn    *transport.Conn
	checked time.Time
}

func newConnector(env *environment, config *v1alpha1.VaultConfig) (*connector, error) {
	origin, err := env.allowed.Vault(config)
	if err != nil {
		return nil, err
	}
	proxy, err := env.allowed.Proxy(config)
	if err != nil {
		return nil, err
	}
	return &connector{
		environment: env, config: config, origin: origin, proxy: proxy, limiter: transport.NewRequestLimiter(
			config.Spec.Limits,
		),
	}, nil
}

// connect returns the way to Vault. Certificates and headers are read again if that is due, or if again says so.
func (c *connector) connect(ctx context.Context, again bool) (*transport.Conn, error) {
	now := c.environment.clock.Now()
	c.mu.Lock()
	current, checked := c.conn, c.checked
	c.mu.Unlock()
	if current != nil && (!transport.ReadsObjects(c.config) || !again && now.Sub(checked) < recheckInterval) {
		return current, nil
	}
	config, err := transport.ReadConfig(ctx, c.environment.reader, c.config, c.origin, c.proxy)
	if err != nil {
		if current != nil && fault.From(err).Class == fault.ClassTransient {
			return current, nil
		}
		return nil, err
	}
	t, err := c.environment.pool.Get(config)
	if err != nil {
		return nil, err
	}
	next := current
	if current == nil || current.Transport() != t {
		next = c.environment.pool.NewConn(t, transport.Settings{
			Namespace: c.config.Spec.VaultNamespace, Timeout: c.timeout(), Limiter: c.limiter, Subject: transport.SubjectOf(
				c.config,
			),
		})
	}
	c.mu.Lock()
	if c.conn != nil && c.conn.Transport() == t { // another caller was as fast
		next = c.conn
	}
	c.conn, c.checked = next, now
	c.mu.Unlock()
	if current != nil && current != next {
		c.environment.connChanged()
	}
	return next, nil
}

// timeout of one request.
func (c *connector) timeout() time.Duration {
	if limits := c.config.Spec.Limits; limits != nil && limits.Timeout != nil {
		return limits.Timeout.Duration
	}
	return c.environment.timeout
}

// invalidate has certificates and headers read again before the next request.
func (c *connector) invalidate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked = time.Time{}
}

// latest returns the way that was used last; nil if there was none.
func (c *connector) latest() *transport.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// inUse adds the transport that the connector uses.
func (c *connector) inUse(used map[*transport.Transport]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		used[c.conn.Transport()] = true
	}
}
