package resolver

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// sharedFor is how old an answer of Vault may be that a volume gets, counted from when the read began.
const sharedFor = 2 * time.Second

// burstPause is how long a burst may pause: nodes have work to do between two requests.
const burstPause = 250 * time.Millisecond

// answers are what Vault just said to the volumes of a burst, as when a node is drained, so that it costs one read for each secret even if not
// all of them meet. A burst begins when a volume is served while another one is, and ends when none was for burstPause. An answer is forgotten
// when the burst ends, when it is sharedFor old, and when Sallyport changes the secret, whichever is first. Volumes that are served one after
// the other share nothing, and nothing is kept while nobody asks.
type answers struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// serving is how many volumes are being served, and burst whether they are part of one. If none is, pause ends the burst.
	serving int
	burst   bool
	pause   *time.Timer
	byRead  map[string]*kept
}

type kept struct {
	answer
	path   string
	began  time.Time
	forget *time.Timer
}

func newAnswers(clk clock.PassiveClock) answers {
	return answers{clock: clk, byRead: map[string]*kept{}}
}

// serve says that a volume is being served, until done is called.
func (a *answers) serve() (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pause != nil {
		a.pause.Stop()
		a.pause = nil
	}
	a.burst = a.burst || a.serving > 0
	a.serving++
	return a.served
}

func (a *answers) served() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serving--; a.serving > 0 || !a.burst {
		return
	}
	var pause *time.Timer
	pause = time.AfterFunc(burstPause, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.pause != pause {
			return // it goes on
		}
		a.pause, a.burst = nil, false
		for read := range a.byRead {
			a.remove(read)
		}
	})
	a.pause = pause
}

// keep remembers the answer to a read of the secret at path that began at that time.
func (a *answers) keep(read, path string, got answer, began time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := sharedFor - a.clock.Since(began)
	if !a.burst || left <= 0 {
		return
	}
	a.remove(read)
	entry := &kept{answer: got, path: path, began: began}
	entry.forget = time.AfterFunc(left, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.byRead[read] == entry {
			a.remove(read)
		}
	})
	a.byRead[read] = entry
}

// recall returns the answer to a read, if it is still remembered.
func (a *answers) recall(read string) (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	entry := a.byRead[read]
	if entry == nil || a.clock.Since(entry.began) >= sharedFor {
		return answer{}, false
	}
	return entry.answer, true
}

// changed forgets what was read at a path.
func (a *answers) changed(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for read, entry := range a.byRead {
		if entry.path == path {
			a.remove(read)
		}
	}
}

// remove forgets one answer. The caller holds the lock.
func (a *answers) remove(read string) {
	if entry := a.byRead[read]; entry != nil {
		entry.forget.Stop()
		delete(a.byRead, read)
	}
}
