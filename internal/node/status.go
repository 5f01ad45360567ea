package node

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// codedFault is a fault whose gRPC code the CSI specification fixes, whatever the code of its reason is.
type codedFault struct {
	*fault.Fault
	code codes.Code
}

func (f *codedFault) Unwrap() error { return f.Fault }

func invalidArgument(format string, args ...any) error {
	return &codedFault{Fault: fault.Terminal(v1alpha1.ReasonInvalidSpec, format, args...), code: codes.InvalidArgument}
}

func failedPrecondition(format string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonInvalidSpec, format, args...)
}

// pending says that another call for the same volume is under way and this one was given up meanwhile.
func pending(volumeID string) error {
	return &codedFault{
		Fault: fault.Transient(v1alpha1.ReasonInternal, "another call for the volume %s is still under way", volumeID),
		code:  codes.Aborted,
	}
}

// toStatus turns what a method returned into a fault, for log and metrics, and into the gRPC status that the kubelet
// gets. Reason and sentence become part of the pod's FailedMount event: "… desc = KeyMissing: Connection shop/db, …".
func toStatus(err error) (f *fault.Fault, toKubelet error) {
	if coded, ok := errors.AsType[*codedFault](err); ok {
		return coded.Fault, status.Error(coded.code, coded.Reason+": "+coded.Message())
	}
	if known, ok := errors.AsType[*fault.Fault](err); ok {
		return known, status.Error(fault.Code(known.Reason), known.Reason+": "+known.Message())
	}
	if s, ok := status.FromError(err); ok {
		return fault.Transient(v1alpha1.ReasonInternal, "%s", s.Message()), err
	}
	f = fault.From(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return f, status.Error(codes.Aborted, f.Message())
	}
	return f, status.Error(codes.Internal, f.Message())
}
