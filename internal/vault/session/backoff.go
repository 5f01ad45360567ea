package session

import (
	"crypto/sha256"
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// backoff holds an action back after failures, for a pause that doubles with each failure up to a bound. A session has
// three:
//
//	loginBackoff   a credential that Vault does not accept is offered again after 30 s to 5 min, for somebody may put it
//	               right in Vault; where Vault counts refused logins, accounts decides instead
//	renewBackoff   a token that could not be kept alive, but still lives, is used as it is for 2 s to 1 min
//	policyRecheck  a request that is denied to a living token leads to a login, to see whether there are new policies,
//	               5 min after the last login at the earliest, and 6 h if that is always in vain
//
// Its states:
//
//	                  fail (pause: the next of the schedule)
//	    ┌────────────────────────────────────────────────┐
//	    │                                                ▼
//	┌───────┐  hold (pause: as before, or the first)  ┌──────┐
//	│ open  │ ──────────────────────────────────────▶ │ held │ ──┐ fail: until a later time
//	└───────┘                                         └──────┘ ◀─┘
//	  ▲   ▲             the pause is over                │  │
//	  │   └──────────────────────────────────────────────┘  │
//	  └─────────────────────────────────────────────────────┘
//	       reset, or another credential (from both states; the next pause is the first again)
//
// flowcontrol.Backoff knows no error to repeat, and forgets by a clock of its own when nobody asks for long. The caller
// guards it.
type backoff struct {
	schedule wait.Backoff
	// next are the pauses of the schedule that are still to come; the zero value: all.
	next wait.Backoff
	// pause that is kept, or was last; zero: none has been yet.
	pause time.Duration
	until time.Time
	// err of the last failure; nil: there is none.
	err error
	// credential that the failure is about; zero if it does not matter.
	credential [sha256.Size]byte
}

func newBackoff(first, longest time.Duration) backoff {
	return backoff{schedule: wait.Backoff{Duration: first, Factor: 2, Cap: longest, Steps: math.MaxInt32}}
}

func newLoginBackoff() backoff  { return newBackoff(30*time.Second, 5*time.Minute) }
func newRenewBackoff() backoff  { return newBackoff(2*time.Second, time.Minute) }
func newPolicyRecheck() backoff { return newBackoff(5*time.Minute, 6*time.Hour) }

// step takes the next pause.
func (b *backoff) step() {
	if b.next.Duration == 0 {
		b.next = b.schedule
	}
	b.pause = b.next.Step()
}

// hold the action back for a pause from a time on, without a failure.
func (b *backoff) hold(from time.Time) {
	if b.pause == 0 {
		b.step()
	}
	b.until = from.Add(b.pause)
}

// fail notes a failure with a credential, and holds the action back for the next pause.
func (b *backoff) fail(now time.Time, credential [sha256.Size]byte, err error) {
	if b.credential != credential {
		b.reset()
	}
	b.step()
	b.until, b.credential, b.err = now.Add(b.pause), credential, err
}

// note a failure with a credential without holding the action back.
func (b *backoff) note(credential [sha256.Size]byte, err error) {
	b.reset()
	b.credential, b.err = credential, err
}

// reset forgets all failures.
func (b *backoff) reset() { *b = backoff{schedule: b.schedule} }

// held tells whether the action is held back.
func (b *backoff) held(now time.Time) bool { return now.Before(b.until) }

// heldFor returns the last error with this credential while the action is held back with it; nil if it may be tried.
func (b *backoff) heldFor(now time.Time, credential [sha256.Size]byte) error {
	if !b.held(now) {
		return nil
	}
	return b.last(credential)
}

// last returns the last error with this credential.
func (b *backoff) last(credential [sha256.Size]byte) error {
	if b.credential != credential {
		return nil
	}
	return b.err
}
