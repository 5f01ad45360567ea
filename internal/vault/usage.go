package vault

import (
	"crypto/rand"
	"sync"
)

// usage counts what depends on a token: the requests under way. A token
// that was obtained by login is revoked when it is retired and nothing depends on it any more. One that its owner put into a
// Secret is never revoked.
type usage struct {
	// id is a name for the token, which says nothing of it: random for one of a login, which nobody else has, and for one from a Secret what
	// every replica, now and later, calls it.
	id string

	mu      sync.Mutex
	users   int
	retired bool
	// end revokes the token; nil if that is not ours to do, or was done.
	end func()
}

func newUsage() *usage { return &usage{id: rand.Text()} }

// hold says that something depends on the token, until release is called.
func (u *usage) hold() (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.users++
	return sync.OnceFunc(func() {
		u.mu.Lock()
		u.users--
		u.mu.Unlock()
		u.settle()
	})
}

// retire says that nothing new will depend on the token.
func (u *usage) retire() {
	u.mu.Lock()
	u.retired = true
	u.mu.Unlock()
	u.settle()
}

// outlive says that something made with the token outlives what this process knows: a lease that a pod uses, maybe renewed by another replica. The
// token is left to its own end.
func (u *usage) outlive() { u.abandon() }

// abandon says that the token is dead already.
func (u *usage) abandon() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end = nil
}

func (u *usage) settle() {
	u.mu.Lock()
	var end func()
	if u.retired && u.users == 0 {
		end, u.end = u.end, nil
	}
	u.mu.Unlock()
	if end != nil {
		end()
	}
}
