package transport

import (
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// maxResponse bounds what is read of one response, in bytes: a few times what Vault's storages accept as one
	// secret.
	maxResponse = 4 << 20
	// maxFailure is the same for a response that is no success, which the library reads whole and decodes, whatever
	// else is being read. The longest that Vault sends is the metadata of a deleted version, with 40 KiB of its
	// owner's.
	maxFailure = 128 << 10
)

// maxConnectionAge is how long new requests go over the same connections. A load balancer chooses a node of Vault when
// a connection is made, and one over which HTTP/2 is spoken need never end: so nodes that were added, or came back, get
// their part within minutes, for a handshake every now and then.
const maxConnectionAge = 5 * time.Minute

// connections are those of one Transport. They are given up for others together, when they are old or lead to a node of
// Vault that should not be asked: net/http can end connections that are idle, but knows no way to take one out of use
// over which requests are under way. It is safe for concurrent use.
type connections struct {
	clock clock.PassiveClock
	open  func() *http.Transport

	mu      sync.Mutex
	current *http.Transport
	since   time.Time
}

func newConnections(clk clock.PassiveClock, open func() *http.Transport) *connections {
	return &connections{clock: clk, open: open, current: open(), since: clk.Now()}
}

// RoundTrip implements http.RoundTripper. It ends a response one byte behind its bound, whoever reads it.
func (c *connections) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.young().RoundTrip(request)
	if response != nil {
		bound := int64(maxResponse)
		if response.StatusCode >= http.StatusBadRequest {
			bound = maxFailure
		}
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, bound+1), response.Body}
	}
	return response, err
}

// young are the connections to use now.
func (c *connections) young() *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clock.Since(c.since) >= maxConnectionAge {
		c.renewLocked()
	}
	return c.current
}

// renew has the requests that come go over new connections. Those that are under way are not disturbed: their
// connections end when nobody has used them for a while.
func (c *connections) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewLocked()
}

func (c *connections) renewLocked() {
	former := c.current
	c.current, c.since = c.open(), c.clock.Now()
	former.CloseIdleConnections()
}

// closeIdle is for who drops the Transport. It is no method that http.Client finds, for the library calls that after
// each request without an answer, and the connections are others' too.
func (c *connections) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.CloseIdleConnections()
}
