package server

import (
	"net"
	"sync"
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
	inAll    int
	bySource map[string]int
}

func newLimitedListener(listener net.Listener) *limitedListener {
	return &limitedListener{Listener: listener, bySource: map[string]int{}}
}

// Accept returns the next connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source, _, err := net.SplitHostPort(connection.RemoteAddr().String())
		if err != nil {
			source = connection.RemoteAddr().String()
		}
		if l.take(source) {
			return &limitedConn{Conn: connection, closed: sync.OnceFunc(func() { l.release(source) })}, nil
		}
		_ = connection.Close()
	}
}

func (l *limitedListener) take(source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inAll >= maxConnections || l.bySource[source] >= maxConnectionsPerSource {
		return false
	}
	l.inAll++
	l.bySource[source]++
	return true
}

func (l *limitedListener) release(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inAll--
	if l.bySource[source]--; l.bySource[source] == 0 {
		delete(l.bySource, source)
	}
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
