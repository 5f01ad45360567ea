package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// errorInfo returns the resolver's own reason, nil if the status is not the resolver's.
func errorInfo(s *status.Status) *errdetails.ErrorInfo {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == resolverv1.ErrorDomain && info.GetReason() != "" {
			return info
		}
	}
	return nil
}

// asFault turns an answer's error into the fault that the resolver found. It returns nil, the interface, for nil.
func asFault(err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	if info := errorInfo(s); info != nil {
		return &fault.Fault{Reason: info.GetReason(), Problem: s.Message(), Class: class(s.Code())}
	}
	if s.Code() == codes.Canceled {
		return givenUp()
	}
	// The message is not the resolver's sentence, so nobody vouches for what it holds.
	return fault.Transient(v1alpha1.ReasonInternal, "the resolver's answer is not one: gRPC status %s without a reason", s.Code())
}

func givenUp() *fault.Fault {
	return fault.Transient(v1alpha1.ReasonInternal, "the request was given up before an answer came")
}

// class guesses who can cure it. The protocol carries no class, and a node asks again in any case.
func class(code codes.Code) fault.Class {
	switch code {
	case codes.Unavailable, codes.Internal:
		return fault.ClassTransient
	case codes.InvalidArgument:
		return fault.ClassTerminal
	default:
		return fault.ClassWaiting
	}
}

// attempts is what happened at the endpoints that were asked in vain.
type attempts struct {
	count int
	last  string
}

func (a *attempts) add(e *endpoint, err error) {
	a.count++
	a.last = fmt.Sprintf("%s (%s)", kind(e, err), e.name)
}

func (a *attempts) fault(known int, ended error) error {
	if errors.Is(ended, context.Canceled) {
		return givenUp()
	}
	return fault.Transient(v1alpha1.ReasonNoResolver, "no resolver answers: %d of %d tried, the last failure: %s", a.count, known, a.last)
}

// kind names a failure in our own words: gRPC's texts change, and nobody vouches for what they quote.
func kind(e *endpoint, err error) string {
	if status.Code(err) == codes.DeadlineExceeded {
		return "no answer in time"
	}
	if cause := e.lastFailure(); cause != nil {
		return cause.kind
	}
	return "the connection broke"
}

// connectFailure is why an endpoint could not be connected to.
type connectFailure struct{ kind string }

func dialFailure(err error) *connectFailure {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &connectFailure{"connection refused"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &connectFailure{"no route to it"}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &connectFailure{"time-out while connecting"}
	default:
		return &connectFailure{"it cannot be connected to"}
	}
}

func handshakeFailure(err error) *connectFailure {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.As(err, &unknown):
		return &connectFailure{"its certificate is not the published one"}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &connectFailure{"its certificate is expired"}
	case errors.As(err, &verification):
		return &connectFailure{"its certificate is not valid"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &connectFailure{"time-out in the TLS handshake"}
	default:
		return &connectFailure{"the TLS handshake failed"}
	}
}
