package env

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Proxy stands in front of a real Vault, with a certificate of the same authority. It counts requests and can spoil
// them; whatever it lets through is Vault's own doing.
type Proxy struct {
	url     string
	below   string // the path below which it has Vault
	server  *http.Server
	forward *httputil.ReverseProxy

	mu         sync.Mutex
	counts     map[string]int
	namespaces map[string]string
	faults     []*Fault
	observe    func(*http.Request)
}

// Fault is what the proxy does to the requests it matches. Exactly one of Hang, CloseBefore, CloseAfter, Status and
// Rewrite should be set, or none to hold or Delay only.
type Fault struct {
	// Method and Path (a prefix, without /v1/) of the requests; empty matches all.
	Method, Path string
	// Times is how many requests it is done to; zero: all.
	Times int

	// Until holds the request before anything else, until it is closed or the client gives up: so that a spec asserts what
	// comes first, whatever time it takes.
	Until <-chan struct{}
	// Delay after that, before anything else.
	Delay time.Duration
	// Hang: no answer until the client gives up.
	Hang bool
	// CloseBefore: the connection is closed, and Vault never sees the request.
	CloseBefore bool
	// CloseAfter: Vault handles the request, and its answer is lost.
	CloseAfter bool
	// Status answered in place of Vault's, with Body and ContentType (text/html if empty).
	Status            int
	Body, ContentType string
	// Header added to that answer.
	Header http.Header
	// Rewrite changes the body of Vault's own answer.
	Rewrite func(body []byte) []byte
}

// StartProxy starts a proxy in front of Vault on a free port; its TLS can be changed. Close ends it.
func StartProxy(v *Vault, change ...func(*tls.Config)) (*Proxy, error) {
	tlsConfig, err := v.pki.server()
	if err != nil {
		return nil, err
	}
	for _, c := range change {
		c(tlsConfig)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(v.URL())
	if err != nil {
		return nil, err
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // spoiled requests are no news
	p := &Proxy{url: "https://" + listener.Addr().String(), counts: map[string]int{}, namespaces: map[string]string{}}
	p.forward = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{TLSClientConfig: v.pki.client(), ForceAttemptHTTP2: true},
		ErrorLog:  quiet,
		// Vault is down: pass on what a client would see without the proxy.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = &http.Server{Handler: p, TLSConfig: tlsConfig, ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.server.ServeTLS(listener, "", "") }()
	return p, nil
}

// ServerTLS is for a server with a certificate of the authority that signed Vault's: whoever trusts Vault trusts it.
func (v *Vault) ServerTLS() (*tls.Config, error) { return v.pki.server() }

// Below has the proxy have Vault below a path, as a gateway does: whatever else is asked has its own answer. To be called
// before there are requests.
func (p *Proxy) Below(path string) *Proxy {
	p.below = path
	return p
}

// URL is the proxy's origin, with the path below which it has Vault.
func (p *Proxy) URL() string { return p.url + p.below }

// Close ends the proxy and its connections.
func (p *Proxy) Close() { _ = p.server.Close() }

// Inject has the proxy do this to requests from now on. Of several faults that match, the first one injected counts.
func (p *Proxy) Inject(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &f)
}

// Observe has the proxy show each request from now on, before anything is done to it.
func (p *Proxy) Observe(observe func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observe = observe
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// Reset forgets what was counted.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts = map[string]int{}
}

// Counts is how many requests came, by method and path without /v1/: "GET secret/data/oracle".
func (p *Proxy) Counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Namespace is the Vault namespace that the last such request named, by method and path as in Counts.
func (p *Proxy) Namespace(request string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.namespaces[request]
}

// ServeHTTP is the proxy's handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.below != "" {
		inside, is := strings.CutPrefix(r.URL.Path, p.below)
		if !is {
			http.NotFound(w, r)
			return
		}
		r.URL.Path, r.URL.RawPath = inside, strings.TrimPrefix(r.URL.RawPath, p.below)
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	f := p.record(r, path)
	if f == nil {
		p.forward.ServeHTTP(w, r)
		return
	}
	if f.wait(r.Context()) != nil {
		return
	}
	switch {
	case f.Hang:
		<-r.Context().Done()
	case f.CloseBefore:
		panic(http.ErrAbortHandler)
	case f.CloseAfter:
		p.forward.ServeHTTP(discarded{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		maps.Copy(w.Header(), f.Header)
		w.Header().Set("Content-Type", "text/html")
		if f.ContentType != "" {
			w.Header().Set("Content-Type", f.ContentType)
		}
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	case f.Rewrite != nil:
		r.Header.Del("Accept-Encoding")
		answer := httptest.NewRecorder()
		p.forward.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(f.Rewrite(answer.Body.Bytes()))
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// record counts a request and returns the fault for it, if any.
func (p *Proxy) record(r *http.Request, path string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.observe != nil {
		p.observe(r)
	}
	p.counts[r.Method+" "+path]++
	p.namespaces[r.Method+" "+path] = r.Header.Get("X-Vault-Namespace")
	for i, f := range p.faults {
		if (f.Method != "" && f.Method != r.Method) || !strings.HasPrefix(path, f.Path) {
			continue
		}
		if f.Times == 1 {
			p.faults = append(p.faults[:i:i], p.faults[i+1:]...)
		} else if f.Times > 1 {
			f.Times--
		}
		return f
	}
	return nil
}

var errClientLeft = errors.New("the client left")

// wait until the fault lets the request go on.
func (f *Fault) wait(ctx context.Context) error {
	if f.Until != nil {
		select {
		case <-f.Until:
		case <-ctx.Done():
			return errClientLeft
		}
	}
	if f.Delay == 0 {
		return nil
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errClientLeft
	}
}

// discarded takes Vault's answer and throws it away.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header             { return d.header }
func (discarded) Write(content []byte) (int, error) { return len(content), nil }
func (discarded) WriteHeader(int)                   {}
