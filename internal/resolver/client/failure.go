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

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// faultOf turns the error of a call into the fault that the resolver found. It returns nil, the interface, for nil.
func faultOf(err error) error {
	if err == nil {
		return nil
	}
	if f := resolverv1.DecodeFault(err); f != nil {
		return f
	}
	code := status.Code(err)
	if code == codes.Canceled {
		return givenUp()
	}
	// The message is not the resolver's sentence, so nobody vouches for what it holds.
	return fault.Transient(v1alpha1.ReasonInternal,
		"the resolver's answer is not one: gRPC status %s without a reason", code)
}

func givenUp() *fault.Fault {
	return fault.Transient(v1alpha1.ReasonInternal, "the request was given up before an answer came")
}

// unanswered tells whether err means that no resolver saw the call to its end, so that another may be asked. Asking
// twice does no harm: what a resolver does for a call it does again for the next one.
func unanswered(err error) bool {
	if resolverv1.DecodeFault(err) != nil {
		return false
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}

// noPlace is the error of a request whose answer is there, and for which there was no room in time.
func noPlace() error {
	return resolverv1.EncodeFault(fault.Transient(v1alpha1.ReasonNodeBusy,
		"the answers for other volumes of this node are being written, and this one waited in vain for its turn"))
}

// failedCalls is what happened at the endpoints that were asked in vain.
type failedCalls struct {
	count int
	last  string
}

func (a *failedCalls) add(name string, cause *connectFailure, err error) {
	a.count++
	a.last = fmt.Sprintf("%s (%s)", kind(cause, err), name)
}

// fault is what became of the call. answered: some replica did answer, but only the answers of all are final.
func (a *failedCalls) fault(known int, answered bool, ended error) error {
	switch {
	case errors.Is(ended, context.Canceled):
		return givenUp()
	case answered:
		return fault.Transient(v1alpha1.ReasonNoResolver,
			"no resolver that answers can do it, and %d of %d did not answer, the last failure: %s", a.count, known, a.last)
	}
	return fault.Transient(v1alpha1.ReasonNoResolver,
		"no resolver answers: %d of %d tried, the last failure: %s", a.count, known, a.last)
}

// kind names a failure in our own words: gRPC's texts change, and nobody vouches for what they quote.
func kind(cause *connectFailure, err error) string {
	if status.Code(err) == codes.DeadlineExceeded {
		return "no answer in time"
	}
	if cause != nil {
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
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
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
