// Package fault is the error that users see, as data: a stable reason from the API package, a class that says who can
// cure it, the object at fault, the place in it, the problem and the remedy. The sentence is rendered from them in one
// place (Message), and is the same in the condition of an object, the event of a pod and the gRPC status between node
// and resolver. Nobody looks into a sentence or edits one: whoever needs to know, asks a field; whoever knows more,
// sets one.
//
// A fault never holds a secret value, a token, a lease ID, an accessor or a hash of one: whoever makes a fault writes
// problem and remedy from names, paths and status codes, not from what a foreign error or a response body says.
package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/printable"
)

// Class says who can make progress possible, and so how a controller treats the fault.
type Class int

const (
	// ClassTransient may go away by itself (Vault is down); try again with back-off.
	ClassTransient Class = iota
	// ClassWaiting goes away when somebody changes another object or Vault's content; look again at a steady pace.
	ClassWaiting
	// ClassTerminal is cured by an edit of the subject only.
	ClassTerminal
)

// classNames are how a class travels between programs.
var classNames = map[Class]string{ClassTransient: "Transient", ClassWaiting: "Waiting", ClassTerminal: "Terminal"}

// String returns the name that ParseClass reads.
func (c Class) String() string { return classNames[c] }

// ParseClass returns the class with this name, and false if there is none.
func ParseClass(name string) (Class, bool) {
	for class, n := range classNames {
		if n == name {
			return class, true
		}
	}
	return ClassTransient, false
}

// The kinds that subjects are of.
const (
	KindVaultConfig = "VaultConfig"
	KindConnection  = "Connection"
	KindVaultTask   = "VaultTask"
)

// Subject names the object at fault.
type Subject struct {
	// Kind is one of the Kind constants.
	Kind, Namespace, Name string
}

// String is how sentences call it: Connection shop/db.
func (s Subject) String() string { return s.Kind + " " + s.Namespace + "/" + s.Name }

// Fault is an error with a stable reason and a sentence for people.
type Fault struct {
	// Reason is one of the Reason constants of the API package.
	Reason string
	// Class says how to treat it, seen from the Subject: For tells it for another object.
	Class Class
	// Subject is the object at fault; the zero value for the one that the request is for.
	Subject Subject
	// Field is the subject of the problem, if that is a part of an object: key "password" of value. Empty: Problem
	// names it.
	Field string
	// Problem is what is wrong, and Remedy what cures it, empty where that cannot be known. Neither ends with a period.
	Problem, Remedy string
	// OutcomeUnknown says that an effect may or may not have happened: the request may have reached Vault, and no
	// answer came that says what became of it.
	OutcomeUnknown bool
	// Absent says that what was asked for is not there, as its owner let know whom it does not refuse: a secret, or a key
	// or a field in one. What is denied, unreachable or mistaken is not absent.
	Absent bool
	// Unreachable says that Vault itself gave no answer, or none but that it is sealed: it refused nothing.
	Unreachable bool

	// places lead to the problem, from the outside in.
	places []place
	// aside is what else there is to say, of other problems than this one.
	aside string
}

// place is where a problem is. A field stands closer to the object that it belongs to than other places to each other:
// Connection shop/db, key "password": file "a": …
type place struct {
	text            string
	object, isField bool
}

// Transient makes a fault that may go away by itself.
func Transient(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Problem: fmt.Sprintf(format, args...), Class: ClassTransient}
}

// Waiting makes a fault that goes away when somebody changes another object or the content of Vault.
func Waiting(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Problem: fmt.Sprintf(format, args...), Class: ClassWaiting}
}

// Terminal makes a fault that only an edit of the object can cure.
func Terminal(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Problem: fmt.Sprintf(format, args...), Class: ClassTerminal}
}

// Error returns the sentence.
func (f *Fault) Error() string { return f.Message() }

// Message renders the sentence: one line that can be printed, without a final period.
func (f *Fault) Message() string {
	var b strings.Builder
	for i, p := range f.places {
		if i > 0 {
			b.WriteString(separator(f.places[i-1], p))
		}
		b.WriteString(p.text)
	}
	if n := len(f.places); n > 0 {
		b.WriteString(separator(f.places[n-1], place{isField: f.Field != ""}))
	}
	if f.Field != "" {
		b.WriteString(f.Field + " ")
	}
	b.WriteString(f.Problem)
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	if f.aside != "" {
		b.WriteString(" (and " + f.aside + ")")
	}
	return printable.Line(b.String())
}

func separator(outer, inner place) string {
	if outer.object && inner.isField {
		return ", "
	}
	return ": "
}

// OnField returns a copy whose problem is one of this field: key "password" of value cannot …
func (f *Fault) OnField(format string, args ...any) *Fault {
	other := *f
	other.Field = fmt.Sprintf(format, args...)
	return &other
}

// WithRemedy returns a copy with this remedy.
func (f *Fault) WithRemedy(format string, args ...any) *Fault {
	other := *f
	other.Remedy = fmt.Sprintf(format, args...)
	return &other
}

// AddRemedy returns a copy that names one more remedy, after those that it has.
func (f *Fault) AddRemedy(format string, args ...any) *Fault {
	more := fmt.Sprintf(format, args...)
	if f.Remedy != "" {
		more = f.Remedy + "; " + more
	}
	other := *f
	other.Remedy = more
	return &other
}

// AndMore returns a copy that mentions further problems: "… (and 2 more places are wrong)".
func (f *Fault) AndMore(format string, args ...any) *Fault {
	other := *f
	other.aside = fmt.Sprintf(format, args...)
	return &other
}

// WithClass returns a copy of another class.
func (f *Fault) WithClass(class Class) *Fault {
	other := *f
	other.Class = class
	return &other
}

// WithOutcomeUnknown returns a copy that says whether an effect may have happened.
func (f *Fault) WithOutcomeUnknown(unknown bool) *Fault {
	other := *f
	other.OutcomeUnknown = unknown
	return &other
}

// WithAbsent returns a copy that says that what was asked for is not there.
func (f *Fault) WithAbsent() *Fault {
	other := *f
	other.Absent = true
	return &other
}

// WithUnreachable returns a copy that says that Vault gave no answer.
func (f *Fault) WithUnreachable() *Fault {
	other := *f
	other.Unreachable = true
	return &other
}

// For returns the fault as the object sees it that the request is for: what only an edit of another one cures, is
// waited for.
func (f *Fault) For(object Subject) *Fault {
	if f.Class != ClassTerminal || f.Subject == (Subject{}) || f.Subject == object {
		return f
	}
	return f.WithClass(ClassWaiting)
}

// About returns the fault with the object that it is about, unless it names one already. An error that is no fault
// becomes one with reason Internal.
func About(err error, subject Subject) *Fault {
	f := From(err)
	if f.Subject != (Subject{}) {
		return f
	}
	other := *f
	other.Subject = subject
	return &other
}

// In returns the fault with a place put in front: "writing the files of the volume: …". An error that is no fault
// becomes one with reason Internal.
func In(err error, format string, args ...any) *Fault {
	return within(err, place{text: fmt.Sprintf(format, args...)})
}

// InField returns the fault with a field, or what else an object consists of, put in front: key "password": …
func InField(err error, format string, args ...any) *Fault {
	return within(err, place{text: fmt.Sprintf(format, args...), isField: true})
}

// InObject returns the fault with an object put in front: Connection shop/db, key "password": … Which object is at
// fault stays open.
func InObject(err error, object Subject) *Fault {
	return within(err, place{text: object.String(), object: true})
}

func within(err error, outer place) *Fault {
	other := *From(err)
	other.places = slices.Concat([]place{outer}, other.places)
	return &other
}

// From returns the fault in the chain of err, or one with reason Internal. The text of a foreign error is kept, so
// callers make sure that only errors of our own and of the Kubernetes API come here; errors of Vault's client library
// are turned into faults by internal/vault/transport and never get out of it.
func From(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Transient(v1alpha1.ReasonInternal, "the request was given up before an answer came: %v", err)
	}
	return Transient(v1alpha1.ReasonInternal, "%v", err)
}

// Is tells whether err is a fault with this reason.
func Is(err error, reason string) bool {
	f, ok := errors.AsType[*Fault](err)
	return ok && f.Reason == reason
}

// Absent tells whether err says that what was asked for is not there.
func Absent(err error) bool {
	f, ok := errors.AsType[*Fault](err)
	return ok && f.Absent
}

// Unreachable tells whether err says that Vault gave no answer, or none but that it is sealed.
func Unreachable(err error) bool {
	f, ok := errors.AsType[*Fault](err)
	return ok && f.Unreachable
}

// OutcomeUnknown tells whether err leaves open if an effect happened. Every other error means that nothing was done.
func OutcomeUnknown(err error) bool {
	f, ok := errors.AsType[*Fault](err)
	return ok && f.OutcomeUnknown
}
