package node

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// refusal is a fault whose gRPC code the CSI specification fixes.
type refusal struct {
	*fault.Fault
	code codes.Code
}

func (r *refusal) Unwrap() error { return r.Fault }

func invalidArgument(format string, args ...any) error {
	return &refusal{Fault: fault.Terminal(v1alpha1.ReasonInvalidSpec, format, args...), code: codes.InvalidArgument}
}

func failedPrecondition(format string, args ...any) error {
	return &refusal{Fault: fault.Waiting(v1alpha1.ReasonInvalidSpec, format, args...), code: codes.FailedPrecondition}
}

// pending says that another call for the same volume is under way and this one was given up meanwhile.
func pending(volumeID string) error {
	return &refusal{Fault: fault.Transient(v1alpha1.ReasonInternal, "another call for the volume %s is still under way", volumeID), code: codes.Aborted}
}

// answer turns what a method returned into what the kubelet gets, and into reason and sentence for log and metrics.
// Reason and sentence become part of the pod's FailedMount event: "… desc = KeyMissing: Connection shop/db, key …".
func answer(err error) (reason, sentence string, toKubelet error) {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.Reason, refused.Message(), status.Error(refused.code, refused.Reason+": "+refused.Message())
	}
	if known, ok := errors.AsType[*fault.Fault](err); ok {
		return known.Reason, known.Message(), status.Error(fault.Code(known.Reason), known.Reason+": "+known.Message())
	}
	if s, ok := status.FromError(err); ok {
		return v1alpha1.ReasonInternal, s.Message(), err
	}
	known := fault.From(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return known.Reason, known.Message(), status.Error(codes.Aborted, known.Message())
	}
	return known.Reason, known.Message(), status.Error(codes.Internal, known.Message())
}
