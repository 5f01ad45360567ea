package session

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// revocationPauses are those between the tries to revoke a token. After the last one it lives until its TTL runs out.
var revocationPauses = wait.Backoff{Duration: 4 * time.Second, Factor: 4, Steps: 4}

// revocationQueue holds tokens that nothing depends on any more. One goroutine works them off while there are any, so
// that whoever gives up a session does not wait for Vault, and a thousand of them are not revoked at once. A workqueue
// of client-go would keep its goroutines while there is nothing to do, for each of the many queues of ephemeral
// sessions.
type revocationQueue struct {
	mu      sync.Mutex
	queue   []revocation
	working bool
}

type revocation struct {
	conn      *transport.Conn
	token     transport.Token
	namespace string
	actor     string
	pauses    wait.Backoff
}

func (q *revocationQueue) add(next revocation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, next)
	if !q.working {
		q.working = true
		go q.work()
	}
}

func (q *revocationQueue) work() {
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.working, q.queue = false, nil
			q.mu.Unlock()
			return
		}
		next := q.queue[0]
		q.queue = q.queue[1:]
		q.mu.Unlock()
		q.revoke(next)
	}
}

// revoke asks auth/token/revoke-self. A Vault that denies it has its reasons: the token is dead, or its policies do not
// allow it.
func (q *revocationQueue) revoke(next revocation) {
	_, err := next.conn.Call(context.Background(), transport.Request{
		Method: http.MethodPost, Path: "auth/token/revoke-self", Token: &next.token, Namespace: next.namespace,
		Capability: `"update"`, Actor: next.actor,
	})
	if err == nil || fault.From(err).Class != fault.ClassTransient || next.pauses.Steps == 0 {
		return
	}
	pause := next.pauses.Step()
	time.AfterFunc(pause, func() { q.add(next) })
}
