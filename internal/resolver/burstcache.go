package resolver

import (
	"sync"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/heap"
)

// burstTTL is how old a read may be that a volume gets, counted from when it began.
const burstTTL = 2 * time.Second

// burstPause is how long a burst may pause: nodes have work to do between two requests.
const burstPause = 250 * time.Millisecond

// burstCache keeps what was just read from Vault for the volumes of a burst, as when a node is drained, so that it
// costs one read for each secret even if not all of them meet. A burst begins when a volume is served while another one
// is, and ends when none was for burstPause. A result is forgotten when the burst ends, when it is burstTTL old, and
// when Sallyport changes the secret, whichever is first. Volumes that are served one after the other share nothing, and
// nothing is kept while nobody asks.
//
// LRUExpireCache does not do: it drops what has expired only when somebody asks for it, and these are values of
// secrets, which leave memory at that moment.
type burstCache struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// serving is how many volumes are being served, and active whether they are part of a burst. If none is, pause ends
	// it.
	serving int
	active  bool
	pause   *time.Timer
	byRead  map[string]*burstEntry
	size    int64
}

type burstEntry struct {
	readResult
	path   string
	size   int64
	began  time.Time
	expiry *time.Timer
}

func newBurstCache(clk clock.PassiveClock) *burstCache {
	return &burstCache{clock: clk, byRead: map[string]*burstEntry{}}
}

// Begin says that a volume is being served, until done is called.
func (c *burstCache) Begin() (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause != nil {
		c.pause.Stop()
		c.pause = nil
	}
	c.active = c.active || c.serving > 0
	c.serving++
	return c.end
}

func (c *burstCache) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving--; c.serving > 0 || !c.active {
		return
	}
	var pause *time.Timer
	pause = time.AfterFunc(burstPause, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pause != pause {
			return // it goes on
		}
		c.pause, c.active = nil, false
		for read := range c.byRead {
			c.remove(read)
		}
	})
	c.pause = pause
}

// Put remembers the result of a read of the secret at path that began at that time.
func (c *burstCache) Put(read, path string, result readResult, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := burstTTL - c.clock.Since(began)
	if !c.active || left <= 0 {
		return
	}
	c.remove(read)
	size := int64(0)
	if result.secret != nil {
		size = heap.Of(result.secret.Data)
	}
	if c.size+size > heap.Burst { // it is read again
		return
	}
	c.size += size
	entry := &burstEntry{readResult: result, path: path, size: size, began: began}
	entry.expiry = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.byRead[read] == entry {
			c.remove(read)
		}
	})
	c.byRead[read] = entry
}

// Get returns the result of a read, if it is still remembered.
func (c *burstCache) Get(read string) (readResult, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.byRead[read]
	if entry == nil || c.clock.Since(entry.began) >= burstTTL {
		return readResult{}, false
	}
	return entry.readResult, true
}

// Invalidate forgets what was read at a path.
func (c *burstCache) Invalidate(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for read, entry := range c.byRead {
		if entry.path == path {
			c.remove(read)
		}
	}
}

// remove forgets one result. The caller holds the lock.
func (c *burstCache) remove(read string) {
	if entry := c.byRead[read]; entry != nil {
		entry.expiry.Stop()
		c.size -= entry.size
		delete(c.byRead, read)
	}
}
