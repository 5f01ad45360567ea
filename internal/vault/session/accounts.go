package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/shares"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/transport"
)

// Vault counts refused logins of an account (userpass, ldap, approle), begins anew after 15 minutes without one
// (lockout_counter_reset), and locks it after five, or as few as its administrator says. We make it count two at most,
// whatever refuses the login and for how long, so that a threshold of three is never reached.
const (
	// secondTry comes soon, for what is set up often comes together and in any order.
	secondTry = 5 * time.Minute
	// furtherTries are far enough apart for Vault to begin counting anew.
	furtherTries = 20 * time.Minute
	// forgotten is when it no longer matters that a login was refused.
	forgotten = time.Hour
	// maxAccounts bounds the accounts that are remembered; the one that was refused longest ago goes first.
	maxAccounts = 10000
	// maxCredentials bounds the credentials that are remembered of an account: more than anybody tries in an hour.
	maxCredentials = 32
)

// accounts remembers which logins Vault refused and counted, for all sessions of a process: several VaultConfigs can
// log in to the same account. It is safe for concurrent use.
type accounts struct {
	clock clock.PassiveClock
	// turns let one login of an account be under way: what becomes of it decides about the next.
	turns *shares.Turns[accountKey]

	mu      sync.Mutex
	refused *cache.LRUExpireCache
}

// accountKey is a digest of what names an account, which stays in memory.
type accountKey [sha256.Size]byte

// refusals of the logins of one account.
type refusals struct {
	last time.Time
	// pause before one of the credentials is offered again.
	pause time.Duration
	// credentials that were refused. Any other is somebody's correction, and offered at once.
	credentials map[[sha256.Size]byte]bool
}

func newAccounts(clk clock.PassiveClock) *accounts {
	return &accounts{
		clock: clk, turns: shares.NewTurns[accountKey](1), refused: cache.NewLRUExpireCacheWithClock(maxAccounts, clk),
	}
}

func (a *accounts) of(key accountKey) *refusals {
	found, _ := a.refused.Get(key)
	known, _ := found.(*refusals)
	return known
}

// next is when a credential was refused last and may be offered again; zero times if that was never.
func (a *accounts) next(key accountKey, credential [sha256.Size]byte) (refused, again time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.of(key); known != nil && known.credentials[credential] {
		return known.last, known.last.Add(known.pause)
	}
	return time.Time{}, time.Time{}
}

// refuse notes that Vault refused a login and counted it. If another replica may have been refused as well, there is no
// soon second try.
func (a *accounts) refuse(key accountKey, credential [sha256.Size]byte, alone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := &refusals{last: a.clock.Now(), pause: furtherTries, credentials: map[[sha256.Size]byte]bool{credential: true}}
	former := a.of(key)
	switch {
	case former == nil && alone:
		next.pause = secondTry
	case former != nil && len(former.credentials) < maxCredentials:
		for other := range former.credentials {
			next.credentials[other] = true
		}
	}
	a.refused.Add(key, next, forgotten)
}

// accept notes that Vault accepted a login, and so counts none any more.
func (a *accounts) accept(key accountKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused.Remove(key)
}

// offers decides when a credential is offered to Vault. It is safe for concurrent use.
type offers struct {
	accounts *accounts
	leading  func() bool
	// account that is logged in to; lockable tells whether there is one that Vault may lock.
	account  accountKey
	lockable bool
	method   auth.Method
	actor    string

	mu      sync.Mutex
	backoff backoff
	// refused is the last login that Vault refused and counted, accepted the credential of the last that it accepted.
	refused  Refused
	accepted [sha256.Size]byte
	told     told
	// asked is the value of the annotation sallyport.dev/refresh; nil before it was looked at.
	asked *string
}

// Refused is a login that Vault refused and counted.
type Refused struct {
	Time time.Time
	// SecretVersion is the resource version of the Secret with the credential.
	SecretVersion string
}

// told is what the status of the object that says how to log in tells of its login.
type told struct {
	// accepted: Vault accepts the login, by what the leading replica found last.
	accepted bool
	// problem is why not; nil if that is not known.
	problem *fault.Fault
	refused *v1alpha1.RefusedLogin
}

func newOffers(all *accounts, leading func() bool, vault string, method auth.Method, actor string) *offers {
	account := method.Account()
	return &offers{
		accounts: all, leading: leading, lockable: account != "", account: sha256.Sum256([]byte(vault + "\x00" + account)),
		method: method, actor: actor, backoff: newLoginBackoff(),
	}
}

// turn waits until no other login of the account is under way.
func (o *offers) turn(ctx context.Context) (release func(), err error) {
	if !o.lockable {
		return func() {}, nil
	}
	if release, err = o.accounts.turns.Acquire(ctx, o.account, 1); err != nil {
		return nil, fault.Transient(v1alpha1.ReasonVaultUnreachable,
			"another login of the same account hangs, and this one waits for it (%s)", o.actor).WithRemedy(transport.CheckSpeed)
	}
	return release, nil
}

// held returns why a credential is not offered now; nil if it may be.
func (o *offers) held(c auth.Credential) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.accounts.clock.Now()
	if err := o.backoff.heldFor(now, c.Fingerprint); err != nil || !o.lockable {
		return err
	}
	if refused, again := o.accounts.next(o.account, c.Fingerprint); now.Before(again) {
		o.note(c, refused)
		if last := o.backoff.last(c.Fingerprint); last != nil {
			return last
		}
		return fault.Waiting(v1alpha1.ReasonAuthFailed, "Vault refused this login when another object tried it (%s)", o.actor).
			WithRemedy("%s; it is tried again rarely enough for nobody to be locked out", o.method.Remedy())
	}
	// What this process was refused itself, it knows better.
	if r := o.told.refused; r != nil && r.Time != nil && r.SecretVersion == c.Version &&
		r.Time.After(o.refused.Time.Truncate(time.Second)) && now.Before(r.Time.Add(furtherTries)) {
		return o.told.problem
	}
	switch {
	case o.told.accepted, o.leading():
		return nil
	case o.told.problem != nil:
		return o.told.problem
	}
	return fault.Waiting(v1alpha1.ReasonAuthFailed,
		"the leading replica logs in first, because Vault locks an account after a few wrong logins (%s)", o.actor)
}

// reject notes that Vault does not accept a credential, and why.
func (o *offers) reject(c auth.Credential, why error) {
	rejected, ok := errors.AsType[*auth.RejectedError](why)
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.accounts.clock.Now()
	if !o.lockable || !ok || !rejected.Counted {
		o.backoff.fail(now, c.Fingerprint, why)
		return
	}
	// Where it was accepted before, other replicas may come to offer it as well.
	alone := o.accepted != c.Fingerprint && !o.told.accepted
	o.accounts.refuse(o.account, c.Fingerprint, alone)
	o.backoff.note(c.Fingerprint, why)
	o.note(c, now)
}

// note when a credential was refused last. The caller holds the lock.
func (o *offers) note(c auth.Credential, at time.Time) {
	if at.After(o.refused.Time) || o.refused.SecretVersion != c.Version {
		o.refused = Refused{Time: at, SecretVersion: c.Version}
	}
}

// accept notes that Vault accepted a credential.
func (o *offers) accept(c auth.Credential) {
	if o.lockable {
		o.accounts.accept(o.account)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.backoff.reset()
	o.refused, o.accepted = Refused{}, c.Fingerprint
}

// edited: the object was edited. What may be tried again within minutes is tried at once.
func (o *offers) edited() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tryNow()
}

// tryNow forgets refusals that Vault does not count: of the others, somebody's impatience would lock the account. The
// caller holds the lock.
func (o *offers) tryNow() {
	if !o.lockable {
		o.backoff.reset()
	}
}

// tell what the status of the object tells, and whether somebody asked for a look at it now.
func (o *offers) tell(config *v1alpha1.VaultConfig) {
	next := told{}
	condition := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionAuthenticated)
	if condition != nil && condition.ObservedGeneration == config.Generation {
		next.accepted = condition.Status == metav1.ConditionTrue
		if condition.Status == metav1.ConditionFalse {
			next.refused = config.Status.RefusedLogin
			next.problem = problemOf(config, condition)
		}
	}
	asked := config.Annotations[v1alpha1.AnnotationRefresh]
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = next
	if o.asked != nil && *o.asked != asked {
		o.tryNow()
	}
	o.asked = &asked
}

// problemOf is why a VaultConfig could not log in, as its status tells it: Ready has the sentence, if the object is not
// disabled.
func problemOf(config *v1alpha1.VaultConfig, authenticated *metav1.Condition) *fault.Fault {
	problem := &fault.Fault{Reason: authenticated.Reason, Class: fault.ClassWaiting, Problem: authenticated.Message}
	if ready := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		problem.Problem = ready.Message
	}
	if !fault.Allows(problem.Reason, fault.ClassWaiting) {
		problem.Class = fault.ClassTransient
	}
	return problem
}

// last is the last login that Vault refused and counted, since it accepted one.
func (o *offers) last() Refused {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused
}
