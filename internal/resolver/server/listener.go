package server

import (
	"net"
	"sync"

	"sallyport.dev/sallyport/internal/shares"
)

// A node has one connection to each replica, and for a moment another when a certificate is replaced.
const (
	maxConnectionsPerSource = 16
	// maxConnections is for the largest clusters that Kubernetes supports, of 5,000 nodes, and bounds what is held for
	// those that are none.
	maxConnections = 6000
)

// limitedListener closes connections at once that are more than a source, or all, may have. netutil.LimitListener knows
// no sources, and makes everybody wait when one has them all.
type limitedListener struct {
	net.Listener

	mu       sync.Mutex
	bySource shares.Counts[string]
}

func newLimitedListener(listener net.Listener) *limitedListener {
	return &limitedListener{
		Listener: listener, bySource: shares.NewCounts[string](maxConnections, maxConnectionsPerSource),
	}
}

// Accept returns the next connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := hostOf(connection.RemoteAddr())
		if l.take(source) {
			return &limitedConn{Conn: connection, closed: sync.OnceFunc(func() { l.release(source) })}, nil
		}
		_ = connection.Close()
	}
}

func (l *limitedListener) take(source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bySource.Take(source)
}

func (l *limitedListener) release(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bySource.Give(source, 1)
}

// hostOf is an address without its port.
func hostOf(address net.Addr) string {
	host, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	return host
}

// limitedConn is given back when it is closed.
type limitedConn struct {
	net.Conn
	closed func()
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
