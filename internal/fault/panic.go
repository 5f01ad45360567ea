package fault

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Guard calls do. If it panics, that is its error, and the log of ctx has the functions and lines, and the type of what
// was panicked with: the value itself, and arguments, could hold a secret.
func Guard(ctx context.Context, do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			logr.FromContextOrDiscard(ctx).Error(
				errors.New("panic"), "Recovered from a panic", "type", fmt.Sprintf("%T", value), "stack", callers())
			err = Transient(v1alpha1.ReasonInternal, "Sallyport itself failed at this (panic): its log says where")
		}
	}()
	return do()
}

// callers are the functions that a panic came through, the innermost first.
func callers() []string {
	var counters [32]uintptr
	const ours = 3 // runtime.Callers, callers, and what was deferred
	frames := runtime.CallersFrames(counters[:runtime.Callers(ours, counters[:])])
	var stack []string
	for {
		frame, more := frames.Next()
		stack = append(stack, fmt.Sprintf("%s %s:%d", frame.Function, frame.File, frame.Line))
		if !more {
			return stack
		}
	}
}
