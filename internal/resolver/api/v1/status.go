package resolverv1

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sallyport.dev/sallyport/internal/fault"
)

// Keys of the metadata of google.rpc.ErrorInfo, beside its reason.
const (
	keyClass            = "class"
	keySubjectKind      = "subjectKind"
	keySubjectNamespace = "subjectNamespace"
	keySubjectName      = "subjectName"
)

// EncodeFault returns the gRPC error that carries a fault: its sentence as message, and reason, class and subject in a
// google.rpc.ErrorInfo.
func EncodeFault(f *fault.Fault) error {
	info := &errdetails.ErrorInfo{
		Reason: f.Reason, Domain: ErrorDomain, Metadata: map[string]string{keyClass: f.Class.String()},
	}
	if f.Subject != (fault.Subject{}) {
		info.Metadata[keySubjectKind] = f.Subject.Kind
		info.Metadata[keySubjectNamespace] = f.Subject.Namespace
		info.Metadata[keySubjectName] = f.Subject.Name
	}
	bare := status.New(wireCode(f), f.Message())
	detailed, err := bare.WithDetails(info)
	if err != nil {
		return bare.Err()
	}
	return detailed.Err()
}

// EncodeFailure is the error of one request as a message carries it, for a call has only one status: EncodeFault's, or
// another's.
func EncodeFailure(failure error) []byte {
	encoded, err := proto.Marshal(status.Convert(failure).Proto())
	if err != nil {
		return nil // decoded as an error that says nothing
	}
	return encoded
}

// DecodeFailure returns the error of a request, which is never nil: to DecodeFault it is what a call would have ended
// with.
func DecodeFailure(encoded []byte) error {
	failure := &statuspb.Status{}
	if err := proto.Unmarshal(encoded, failure); err != nil || failure.GetCode() == int32(codes.OK) {
		return status.Error(codes.Internal, "the failure of a request cannot be read")
	}
	return status.ErrorProto(failure)
}

// wireCode is the reason's code, but that of a transient fault says that it may go away: nodes of earlier versions look
// at nothing else to tell whether to ask again.
func wireCode(f *fault.Fault) codes.Code {
	code := fault.Code(f.Reason)
	if f.Class == fault.ClassTransient && (code == codes.FailedPrecondition || code == codes.NotFound) {
		return codes.Unavailable
	}
	return code
}

// classOf is the class of a fault from a resolver of an earlier version, which sends none.
func classOf(code codes.Code) fault.Class {
	switch code {
	case codes.Unavailable, codes.Internal:
		return fault.ClassTransient
	default:
		return fault.ClassWaiting
	}
}

// DecodeFault returns the fault that a gRPC error carries, and nil if it carries none: then its message is not the
// resolver's sentence, and nobody vouches for what it holds. A class that is not known here, of another version of
// Sallyport, is taken for transient: the node asks again in any case.
func DecodeFault(err error) *fault.Fault {
	s := status.Convert(err)
	for _, detail := range s.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != ErrorDomain || info.GetReason() == "" {
			continue
		}
		said := info.GetMetadata()
		class, ok := fault.ParseClass(said[keyClass])
		if !ok {
			class = classOf(s.Code())
		}
		subject := fault.Subject{Kind: said[keySubjectKind], Namespace: said[keySubjectNamespace], Name: said[keySubjectName]}
		return &fault.Fault{Reason: info.GetReason(), Class: class, Subject: subject, Problem: s.Message()}
	}
	return nil
}
