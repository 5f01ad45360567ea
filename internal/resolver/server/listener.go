package server

import (
	"net"
	"sync"
	"time"

	"sallyport.dev/sallyport/internal/shares"
)

// A node has one connection to each replica, and for a moment another when a certificate is replaced.
const (
	maxConnectionsPerSource = 16
	// maxConnections is for the largest clusters that Kubernetes supports, of 5,000 nodes, and bounds what is held for
	// those that are none.
	maxConnections = 6000
	// unknownLife is how long a connection may be there without a caller who is known, whatever it says meanwhile: as
	// long as a node plugin's client waits for its handshakes and the first response, slow reviews and all.
	unknownLife = 30 * time.Second
)

// limitedListener closes connections at once that are more than a source, or all, may have, and after unknownLife those
// on which nobody was known. netutil.LimitListener knows no sources, and makes everybody wait when one has them all.
type limitedListener struct {
	net.Listener
	unknownLife time.Duration

	mu       sync.Mutex
	bySource shares.Counts[string]
	// unknown are the connections on which nobody was known yet, by the caller's address.
	unknown map[string]*time.Timer
}

func newLimitedListener(listener net.Listener, unknownLife time.Duration) *limitedListener {
	return &limitedListener{
		Listener: listener, unknownLife: unknownLife,
		bySource: shares.NewCounts[string](maxConnections, maxConnectionsPerSource), unknown: map[string]*time.Timer{},
	}
}

// Accept returns the next connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source, address := hostOf(connection.RemoteAddr()), connection.RemoteAddr().String()
		if !l.take(source) {
			refusedConnections.Inc()
			_ = connection.Close()
			continue
		}
		l.awaitCaller(connection)
		return &limitedConn{Conn: connection, closed: sync.OnceFunc(func() {
			l.known(address)
			l.release(source)
		})}, nil
	}
}

// awaitCaller closes a connection that nobody has called known in time. What has it notices by the failing read.
func (l *limitedListener) awaitCaller(connection net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown[connection.RemoteAddr().String()] = time.AfterFunc(l.unknownLife, func() {
		refusedConnections.Inc()
		_ = connection.Close()
	})
}

// known says that the caller at an address is known, so that its connection stays.
func (l *limitedListener) known(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if timer := l.unknown[address]; timer != nil {
		timer.Stop()
		delete(l.unknown, address)
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
