package env

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Tunnel is an HTTP proxy that leads wherever it is told to (CONNECT), as those do that stand between a cluster and the
// world.
type Tunnel struct {
	url    string
	server *http.Server

	mu     sync.Mutex
	led    []string
	status int
}

// StartTunnel starts a proxy on a free port. Close ends it.
func StartTunnel() (*Tunnel, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &Tunnel{url: "http://" + listener.Addr().String()}
	t.server = &http.Server{Handler: t, ReadHeaderTimeout: time.Minute}
	go func() { _ = t.server.Serve(listener) }()
	return t, nil
}

// URL is the proxy's origin.
func (t *Tunnel) URL() string { return t.url }

// Close ends the proxy. Connections that it made live on.
func (t *Tunnel) Close() { _ = t.server.Close() }

// Refuse has every request answered with a status from now on.
func (t *Tunnel) Refuse(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status = status
}

// Led is where the proxy led to, once for each connection.
func (t *Tunnel) Led() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.led...)
}

// ServeHTTP is the proxy's handler.
func (t *Tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	status := t.status
	t.led = append(t.led, r.Method+" "+r.Host)
	t.mu.Unlock()
	if status != 0 || r.Method != http.MethodConnect {
		w.WriteHeader(max(status, http.StatusForbidden))
		return
	}
	out, err := (&net.Dialer{}).DialContext(context.WithoutCancel(r.Context()), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		_ = out.Close()
		return
	}
	in, _, err := hijacker.Hijack()
	if err != nil {
		_ = out.Close()
		return
	}
	_, _ = io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
}
