package vault

import (
	"context"
	"net/http"
	"sync"
	"time"

	"sallyport.dev/sallyport/internal/fault"
)

const (
	// revocationAttempts bounds how often a token is tried to be revoked. After that it lives until its lease runs out.
	revocationAttempts = 5
	revocationPause    = time.Second
)

// revocations are tokens that nothing depends on any more. One goroutine works them off while there are any, so that whoever
// gives up a session does not wait for Vault, and a thousand of them are not revoked at once.
type revocations struct {
	mu      sync.Mutex
	queue   []revocation
	working bool
}

type revocation struct {
	link      *link
	token     token
	namespace string
	as        string
	attempts  int
}

func (r *revocations) add(next revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, next)
	if !r.working {
		r.working = true
		go r.work()
	}
}

func (r *revocations) work() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.working, r.queue = false, nil
			r.mu.Unlock()
			return
		}
		next := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		r.revoke(next)
	}
}

// revoke asks auth/token/revoke-self. A Vault that refuses has its reasons: the token is dead, or its policies do not allow it.
func (r *revocations) revoke(next revocation) {
	_, err := next.link.call(context.Background(), request{
		method: http.MethodPost, path: "auth/token/revoke-self", token: &next.token, namespace: next.namespace, capability: `"update"`, as: next.as,
	})
	if err == nil || fault.From(err).Class != fault.ClassTransient {
		return
	}
	if next.attempts++; next.attempts < revocationAttempts {
		time.AfterFunc(revocationPause<<(2*next.attempts), func() { r.add(next) })
	}
}
