package fault

import (
	"fmt"
	"runtime/debug"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Recovered is what a panic was: the process goes on, and what panicked failed.
type Recovered struct {
	*Fault
	// Stack is for the log. What was panicked with may hold anything, and is not kept but for its type.
	Stack string
}

// Unwrap makes it a fault for errors.As.
func (r *Recovered) Unwrap() error { return r.Fault }

// Guard calls do. If it panics, that is its error.
func Guard(do func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = &Recovered{
				Fault: Transient(v1alpha1.ReasonInternal, "Sallyport itself failed at this (panic): its log says where"),
				Stack: fmt.Sprintf("%T\n%s", reason, debug.Stack()),
			}
		}
	}()
	return do()
}
