// Package fault is the error that users see: a stable reason from the API package and one sentence that says what is wrong
// and, where it can be known, what cures it. The same sentence travels from where it was found to the condition of an
// object, the event of a pod and the gRPC status between node and resolver.
//
// A sentence never holds a secret value, a token, a lease ID, an accessor or a hash of one: whoever makes a fault writes
// the sentence from names, paths and status codes, not from what a foreign error or a response body says.
package fault

import (
	"context"
	"errors"
	"fmt"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Class says who can make progress possible, and so how a controller treats the fault.
type Class int

const (
	// Retry says that it may go away by itself (Vault is down); try again with back-off.
	Retry Class = iota
	// Waiting says that somebody must change another object or Vault's content; look again at a steady pace.
	Waiting
	// Terminal says that only an edit of the object itself can cure it.
	Terminal
)

// Fault is an error with a stable reason and a sentence for people.
type Fault struct {
	// Reason is one of the Reason constants of the API package.
	Reason string
	// Sentence is one line without a final period.
	Sentence string
	// Class says how to treat it.
	Class Class
}

// Error returns the sentence.
func (f *Fault) Error() string { return f.Sentence }

// New makes a fault that may go away by itself.
func New(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Sentence: fmt.Sprintf(format, args...), Class: Retry}
}

// Wait makes a fault that goes away when somebody changes another object or the content of Vault.
func Wait(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Sentence: fmt.Sprintf(format, args...), Class: Waiting}
}

// Invalid makes a fault that only an edit of the object can cure.
func Invalid(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Sentence: fmt.Sprintf(format, args...), Class: Terminal}
}

// In returns the fault with a place put in front of its sentence: "Connection shop/db, key \"password\": …". An error that is
// no fault becomes one with reason Internal.
func In(err error, format string, args ...any) *Fault {
	f := From(err)
	return &Fault{Reason: f.Reason, Sentence: fmt.Sprintf(format, args...) + ": " + f.Sentence, Class: f.Class}
}

// From returns the fault in the chain of err, or one with reason Internal. The text of a foreign error is kept, so callers
// make sure that only errors of our own and of the Kubernetes API come here; errors of Vault's client library are turned
// into faults by package vault and never get out of it.
func From(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return New(v1alpha1.ReasonInternal, "the request was given up before an answer came: %v", err)
	}
	return New(v1alpha1.ReasonInternal, "%v", err)
}

// Is tells whether err is a fault with this reason.
func Is(err error, reason string) bool {
	var f *Fault
	return errors.As(err, &f) && f.Reason == reason
}
