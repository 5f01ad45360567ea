package vaultconfig

import (
	"context"
	"math"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/requeue"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// renewalsAtATime bounds how many tokens of one namespace are renewed at one Vault at a time. At 5 ms each that is more
// than a thousand a second; what hangs is the namespace's own.
const renewalsAtATime = 8

// renewalPauses are those between tries to renew a token. The last one is what a token can be late after its Vault came
// back.
var renewalPauses = wait.Backoff{
	Duration: time.Second, Factor: 2, Jitter: 0.2, Cap: 4 * time.Second, Steps: math.MaxInt32,
}

// renewals renews the tokens of VaultConfigs when that is due, by a timer for each, and apart from the controller's
// workers: a token dies at a moment that does not wait, so that its renewal waits for no worker, for no look at Vault's
// health and for no other Vault. Reconcile plans them and reports how they went. It is safe for concurrent use.
type renewals struct {
	clock clock.PassiveClock
	lanes *shares.Turns[laneKey]

	mu sync.Mutex
	// try one that is due, until the controller ends. It is set by start.
	try      func(*renewal)
	byConfig map[types.NamespacedName]*renewal
}

// renewable is what is renewed: a session.
type renewable interface {
	NextRenewal() time.Time
	Renew(ctx context.Context) error
}

// renewal is that of one VaultConfig's token.
type renewal struct {
	config  types.NamespacedName
	session renewable
	lane    laneKey
	timer   *time.Timer
	// at is the time that the timer was first set to.
	at     time.Time
	pauses wait.Backoff
	// err of the last try; nil if it succeeded, or there was none.
	err *fault.Fault
}

func newRenewals(clk clock.PassiveClock) *renewals {
	return &renewals{
		clock: clk, byConfig: map[types.NamespacedName]*renewal{}, lanes: shares.NewTurns[laneKey](renewalsAtATime),
	}
}

// start is the controller's source of requests: it makes the controller look at each VaultConfig whose token a renewal
// was tried of.
func (r *renewals) start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.try = func(due *renewal) {
		try, cancel := context.WithTimeout(ctx, requeue.LookTime)
		defer cancel()
		if ctx.Err() == nil && r.renew(try, due) {
			queue.Add(reconcile.Request{NamespacedName: due.config})
		}
	}
	return nil
}

// plan sees to it that the session's token is renewed when that is due.
func (r *renewals) plan(config *v1alpha1.VaultConfig, session renewable) {
	key := types.NamespacedName{Namespace: config.Namespace, Name: config.Name}
	at := session.NextRenewal()
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.byConfig[key]
	if known != nil && known.session == session && known.at.Equal(at) {
		return
	}
	r.dropLocked(key)
	if at.IsZero() {
		return
	}
	next := &renewal{
		config: key, session: session, at: at, pauses: renewalPauses,
		lane: laneKey{namespace: config.Namespace, url: config.Spec.URL},
	}
	r.byConfig[key] = next
	try := r.try
	next.timer = time.AfterFunc(at.Sub(r.clock.Now()), fault.Guarded(context.Background(), func() { try(next) }))
}

// drop ends the renewals of a VaultConfig's token.
func (r *renewals) drop(config types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(config)
}

func (r *renewals) dropLocked(config types.NamespacedName) {
	if known := r.byConfig[config]; known != nil {
		known.timer.Stop()
		delete(r.byConfig, config)
	}
}

// failure is why the last try to renew the session's token failed; nil if it did not.
func (r *renewals) failure(config types.NamespacedName, session renewable) *fault.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.byConfig[config]; known != nil && known.session == session {
		return known.err
	}
	return nil
}

// inTurn renews a token when it has its turn in its lane.
func (r *renewals) inTurn(ctx context.Context, due *renewal) error {
	release, err := r.lanes.Acquire(ctx, due.lane, 1)
	if err != nil {
		return fault.Transient(v1alpha1.ReasonVaultUnreachable,
			"%d renewals of this namespace's tokens hang at %s, and this one waits for them", renewalsAtATime, due.lane.url).
			WithRemedy(transport.CheckSpeed)
	}
	defer release()
	return fault.Guard(ctx, func() error { return due.session.Renew(ctx) })
}

// renew renews a token and plans the next time. It tells whether the token is still to be renewed so.
func (r *renewals) renew(ctx context.Context, due *renewal) bool {
	err := r.inTurn(ctx, due)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byConfig[due.config] != due {
		return false
	}
	switch next := due.session.NextRenewal(); {
	case next.IsZero(): // it is as old as it gets, or dead
		delete(r.byConfig, due.config)
	case err != nil:
		due.err = fault.From(err)
		due.timer.Reset(due.pauses.Step())
	default:
		due.err, due.pauses, due.at = nil, renewalPauses, next
		due.timer.Reset(max(next.Sub(r.clock.Now()), 100*time.Millisecond))
	}
	return true
}

// laneKey names the way on which a token is renewed: whoever waits there waits for his own.
type laneKey struct{ namespace, url string }
