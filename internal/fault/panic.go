package fault

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"k8s.io/klog/v2"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// Guard calls do. If it panics, that is its error, and the log of ctx, or else that of the process, has the functions
// and lines, and the type of what was panicked with: the value itself, and arguments, could hold a secret.
func Guard(ctx context.Context, do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			klog.FromContext(ctx).Error(
				errors.New("panic"), "Recovered from a panic", "type", fmt.Sprintf("%T", value), "stack", callers())
			err = Transient(v1alpha1.ReasonInternal, "Sallyport itself failed at this (panic): its log says where")
		}
	}()
	return do()
}

// Guarded is do as a goroutine or a timer may run it: if it panics, that ends what it did and not the process, with the
// requests of everybody else.
func Guarded(ctx context.Context, do func()) func() {
	return func() {
		_ = Guard(ctx, func() error {
			do()
			return nil
		})
	}
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
