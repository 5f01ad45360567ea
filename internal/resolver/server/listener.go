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
	// newPerSecond is how many a source may open anew, after as many as it may have: each is a handshake of TLS, a
	// millisecond of a core.
	newPerSecond = 1
	// maxConnections is for the largest clusters that Kubernetes supports, of 5,000 nodes, and bounds what is held for
	// those that are none.
	maxConnections = 6000
	// maxUnknown is how many of them may be without a known caller: each takes up to 50 KiB, and nodes need milliseconds.
	maxUnknown = 512
	// unknownLife is how long a connection may be there without a caller who is known, whatever it says meanwhile: as
	// long as a node plugin's client waits for its handshakes and the first response, slow reviews and all.
	unknownLife = 30 * time.Second
	// maxRefusals is how often callers on a connection may be refused before anybody is known there. A node plugin whose
	// token has run out comes with another one, on a connection of its own.
	maxRefusals = 4
	// unhurried is how long it may be there where others come, of which none has more.
	unhurried = 2 * time.Second
)

// limitedListener closes connections at once that are more than a source, or all, may have, and after unknownLife those
// on which nobody was known. Where too many are unknown, the oldest gives way, of the source that has the most: so
// sources in any number keep no node out. netutil.LimitListener knows no sources, and makes everybody wait when one has
// them all.
type limitedListener struct {
	net.Listener
	unknownLife time.Duration
	maxUnknown  int

	mu       sync.Mutex
	bySource shares.Counts[string]
	// pace is how often each source connects.
	pace *shares.Limiters
	// unknown are the connections on which nobody was known yet, by the caller's address.
	unknown map[string]*unknownConn
}

// unknownConn is a connection on which nobody was known yet.
type unknownConn struct {
	net.Conn
	source string
	since  time.Time
	timer  *time.Timer
	// refusals are how many callers were refused on it.
	refusals int
}

func newLimitedListener(listener net.Listener, unknownLife time.Duration) *limitedListener {
	return &limitedListener{
		Listener: listener, unknownLife: unknownLife, maxUnknown: maxUnknown,
		bySource: shares.NewCounts[string](maxConnections, maxConnectionsPerSource), unknown: map[string]*unknownConn{},
		pace: shares.NewLimiters(newPerSecond, maxConnectionsPerSource, maxConnections),
	}
}

// Accept returns the next connection within the limits.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		unknown := &unknownConn{Conn: connection, source: hostOf(connection.RemoteAddr()), since: time.Now()}
		if !l.take(unknown) {
			refusedConnections.Inc()
			_ = connection.Close()
			continue
		}
		return &limitedConn{Conn: connection, closed: sync.OnceFunc(func() { l.release(unknown) })}, nil
	}
}

// take counts a connection, if there is room for it, and closes it when nobody has called known in time. What has it
// notices by the failing read.
func (l *limitedListener) take(connection *unknownConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.bySource.Take(connection.source) {
		return false
	}
	if !l.pace.Of(connection.source).Allow() || len(l.unknown) >= l.maxUnknown && !l.makeRoom() {
		l.bySource.Give(connection.source, 1)
		return false
	}
	connection.timer = time.AfterFunc(l.unknownLife, func() {
		refusedConnections.Inc()
		_ = connection.Close()
	})
	l.unknown[connection.RemoteAddr().String()] = connection
	return true
}

// makeRoom closes the oldest connection of the source that has the most without a known caller; false: none has more
// than one, and none of these took its time. The caller holds the lock.
func (l *limitedListener) makeRoom() bool {
	counts, most := map[string]int{}, 0
	for _, connection := range l.unknown {
		counts[connection.source]++
		most = max(most, counts[connection.source])
	}
	var oldest *unknownConn
	for _, connection := range l.unknown {
		if counts[connection.source] == most && (oldest == nil || connection.since.Before(oldest.since)) {
			oldest = connection
		}
	}
	if oldest == nil || most == 1 && time.Since(oldest.since) < unhurried {
		return false
	}
	refusedConnections.Inc()
	l.forget(oldest)
	_ = oldest.Close()
	return true
}

// known says that the caller at an address is known, so that its connection stays.
func (l *limitedListener) known(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if connection := l.unknown[address]; connection != nil {
		l.forget(connection)
		l.pace.Refill(connection.source) // several nodes may come from one address
	}
}

// refused says that the caller at an address was refused. Its connection ends if that was often: who is to be refused
// again has to make another first.
func (l *limitedListener) refused(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	connection := l.unknown[address]
	if connection == nil {
		return
	}
	if connection.refusals++; connection.refusals >= maxRefusals {
		refusedConnections.Inc()
		l.forget(connection)
		_ = connection.Close()
	}
}

// forget no longer counts a connection among those without a known caller. The caller holds the lock.
func (l *limitedListener) forget(connection *unknownConn) {
	connection.timer.Stop()
	if address := connection.RemoteAddr().String(); l.unknown[address] == connection {
		delete(l.unknown, address)
	}
}

func (l *limitedListener) release(connection *unknownConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(connection)
	l.bySource.Give(connection.source, 1)
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
