// Package pipes is a network in memory that only tests have. In a bubble of testing/synctest time passes only while all
// wait, and a socket of the machine would never count as waiting: with a client and a server on pipes, a test says how
// long something takes, to the nanosecond, on a machine however busy.
package pipes

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
)

// address is where every Listener is. It is one that the certificates of net/http/httptest are for.
var address = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8200}

// Listener accepts connections that are pipes.
type Listener struct {
	offered chan net.Conn
	closed  chan struct{}
	close   func()
	dialled atomic.Int64
}

// Listen returns a listener. It belongs into the bubble in which it is used, if it is used in one.
func Listen() *Listener {
	l := &Listener{offered: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

// NewUnstartedServer returns a server that is to be started and closed, and what it listens on.
func NewUnstartedServer(handler http.Handler) (*httptest.Server, *Listener) {
	l := Listen()
	return &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}, l
}

// NewServer returns a server that is started and is to be closed, and what it listens on.
func NewServer(handler http.Handler) (*httptest.Server, *Listener) {
	server, l := NewUnstartedServer(handler)
	server.Start()
	return server, l
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case connection := <-l.offered:
		return connection, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.close()
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return address }

// Dial connects as net.Dialer.DialContext does. Nobody listens at other addresses.
func (l *Listener) Dial(ctx context.Context, network, at string) (net.Conn, error) {
	return l.From("127.0.0.1")(ctx, network, at)
}

// From is Dial from another address.
func (l *Listener) From(source string) func(ctx context.Context, network, at string) (net.Conn, error) {
	return func(ctx context.Context, network, at string) (net.Conn, error) {
		refused := &net.OpError{Op: "dial", Net: network, Addr: address, Err: syscall.ECONNREFUSED}
		if at != address.String() {
			return nil, refused
		}
		// A port is used once, so that the address tells connections apart.
		from := &net.TCPAddr{IP: net.ParseIP(source), Port: int(10_000 + l.dialled.Add(1))}
		client, server := net.Pipe()
		select {
		case l.offered <- &conn{Conn: server, local: address, remote: from}:
			return &conn{Conn: client, local: from, remote: address}, nil
		case <-l.closed:
			return nil, refused
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// conn is an end of a pipe that has addresses.
type conn struct {
	net.Conn
	local, remote net.Addr
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }
