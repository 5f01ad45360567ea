package session

import (
	"crypto/rand"
	"sync"
)

// tokenRef counts what depends on a token: the requests under way. A token that was obtained by login is revoked when
// it is closed and nothing depends on it any more. One that its owner put into a Secret is never revoked.
type tokenRef struct {
	// id is a name for the token, which says nothing of it: random for one of a login, which nobody else has, and for
	// one from a Secret what every replica, now and later, calls it.
	id string

	mu     sync.Mutex
	users  int
	closed bool
	// revoke the token; nil if that is not ours to do, or was done.
	revoke func()
}

func newTokenRef() *tokenRef { return &tokenRef{id: rand.Text()} }

// Acquire says that something depends on the token, until release is called.
func (r *tokenRef) Acquire() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		r.users--
		r.mu.Unlock()
		r.revokeIfUnused()
	})
}

// Close says that nothing new will depend on the token.
func (r *tokenRef) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.revokeIfUnused()
}

// Detach leaves the token to its own end: something made with it outlives what this process knows, a lease that a pod
// uses, maybe renewed by another replica.
func (r *tokenRef) Detach() { r.Invalidate() }

// Invalidate says that the token is dead already.
func (r *tokenRef) Invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoke = nil
}

func (r *tokenRef) revokeIfUnused() {
	r.mu.Lock()
	var revoke func()
	if r.closed && r.users == 0 {
		revoke, r.revoke = r.revoke, nil
	}
	r.mu.Unlock()
	if revoke != nil {
		revoke()
	}
}
