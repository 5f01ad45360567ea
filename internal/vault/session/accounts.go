package session

import (
	"context"
	"crypto/sha256"
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

// accountKey returns the key of the account that the holder logs in to, and false if none can be locked.
func (h *tokenHolder) accountKey() (accountKey, bool) {
	account := h.method.Account()
	if account == "" {
		return accountKey{}, false
	}
	return sha256.Sum256([]byte(h.connector.origin + "\x00" + h.config.Spec.VaultNamespace + "\x00" + account)), true
}

// accountTurn waits until no other login of the account is under way.
func (h *tokenHolder) accountTurn(ctx context.Context) (release func(), err error) {
	key, found := h.accountKey()
	if !found {
		return func() {}, nil
	}
	if release, err = h.environment.accounts.turns.Acquire(ctx, key, 1); err != nil {
		return nil, fault.Transient(v1alpha1.ReasonVaultUnreachable,
			"another login of the same account hangs, and this one waits for it (%s)", h.actor())
	}
	return release, nil
}

// heldForAccount returns why a credential is not offered now because Vault would lock the account; nil if it may be.
func (h *tokenHolder) heldForAccount(c auth.Credential, last error) error {
	key, found := h.accountKey()
	if !found {
		return nil
	}
	if refused, again := h.environment.accounts.next(key, c.Fingerprint); h.now().Before(again) {
		h.noteRefused(c, refused)
		if last != nil {
			return last
		}
		return fault.Waiting(v1alpha1.ReasonAuthFailed, "Vault refused this login when another object tried it (%s)", h.actor()).
			WithRemedy("%s; it is tried again rarely enough for nobody to be locked out", h.method.Remedy())
	}
	return h.heldForOthers(c)
}

// heldForOthers returns why a credential is left to the leading replica, as the object's status tells: that one logs in
// first where a refused login counts, and what it was refused, no other replica tries, nor the next process.
func (h *tokenHolder) heldForOthers(c auth.Credential) error {
	h.mu.Lock()
	told, own := h.told, h.refused
	h.mu.Unlock()
	if told == nil {
		return nil
	}
	// What this process was refused itself, it knows better.
	if r := told.refused; r != nil && r.SecretVersion == c.Version && r.Time.After(own.Time.Truncate(time.Second)) &&
		h.now().Before(r.Time.Add(furtherTries)) {
		return told.problem
	}
	switch {
	case h.environment.leading(), told.accepted:
		return nil
	case told.problem != nil:
		return told.problem
	}
	return fault.Waiting(v1alpha1.ReasonAuthFailed,
		"the leading replica logs in first, because Vault locks an account after a few wrong logins (%s)", h.actor())
}

// Refused is a login that Vault refused and counted.
type Refused struct {
	Time time.Time
	// SecretVersion is the resource version of the Secret with the credential.
	SecretVersion string
}

// noteRefused remembers when a credential was refused last.
func (h *tokenHolder) noteRefused(c auth.Credential, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at.After(h.refused.Time) || h.refused.SecretVersion != c.Version {
		h.refused = Refused{Time: at, SecretVersion: c.Version}
	}
}

// tell has the holder know what the status of the object tells.
func (h *tokenHolder) tell(config *v1alpha1.VaultConfig) {
	next := &told{}
	condition := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionAuthenticated)
	if condition != nil && condition.ObservedGeneration == config.Generation {
		switch condition.Status {
		case metav1.ConditionTrue:
			next.accepted = true
		case metav1.ConditionFalse:
			next.refused = config.Status.RefusedLogin
			next.problem = &fault.Fault{Reason: condition.Reason, Class: fault.ClassWaiting, Problem: condition.Message}
			if !fault.Allows(condition.Reason, fault.ClassWaiting) {
				next.problem.Class = fault.ClassTransient
			}
		case metav1.ConditionUnknown:
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = next
}

// told is what the status of the object that says how to log in tells of its login; nil for an object without one.
type told struct {
	// accepted: Vault accepts the login, by what the leading replica found last.
	accepted bool
	// problem is why not; nil if that is not known.
	problem *fault.Fault
	refused *v1alpha1.RefusedLogin
}
