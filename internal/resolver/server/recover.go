package server

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// recovered, deferred, turns a panic into the error of what one request does. The log has the functions and lines, and
// the value's type: the value itself, and arguments, could hold a secret.
//
//nolint:gocritic // it sets the named result of whoever defers it
func recovered(log logr.Logger, err *error) {
	value := recover() //nolint:revive // this function is what is deferred
	if value == nil {
		return
	}
	var counters [32]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(2, counters[:])])
	var stack []string
	for {
		frame, more := frames.Next()
		stack = append(stack, fmt.Sprintf("%s:%d", frame.Function, frame.Line))
		if !more {
			break
		}
	}
	log.Error(errors.New("panic"), "A request panicked", "type", fmt.Sprintf("%T", value), "stack", stack)
	*err = fault.Transient(v1alpha1.ReasonInternal, "the resolver failed at this request: its log has the place")
}
