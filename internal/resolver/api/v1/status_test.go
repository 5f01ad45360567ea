package resolverv1

import (
	"testing"

	. "github.com/onsi/gomega"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAFaultTravelsWithReasonClassAndSubject(t *testing.T) {
	config := fault.Subject{Kind: fault.KindVaultConfig, Namespace: "shop", Name: "main"}
	for _, f := range []*fault.Fault{
		fault.Transient(v1alpha1.ReasonVaultSealed, "sealed").WithRemedy("unseal it"),
		fault.About(fault.Waiting(v1alpha1.ReasonTLSFailed, "no TLS"), config),
		fault.In(fault.About(fault.Terminal(v1alpha1.ReasonInvalidSpec, "is wrong").OnField("spec.url"), config), "here"),
	} {
		g := NewWithT(t)
		sent := EncodeFault(f)
		g.Expect(status.Code(sent)).To(Equal(fault.Code(f.Reason)))
		for _, received := range []error{sent, DecodeFailure(EncodeFailure(sent))} { // of a call, and of a request in one
			got := DecodeFault(received)
			g.Expect([]any{got.Reason, got.Class, got.Subject, got.Message()}).To(Equal([]any{f.Reason, f.Class, f.Subject, f.Message()}))
			g.Expect(status.Code(received)).To(Equal(fault.Code(f.Reason)))
		}
	}
}

func TestAFailureThatCannotBeReadIsOne(t *testing.T) {
	for _, encoded := range [][]byte{nil, []byte("nonsense"), EncodeFailure(nil)} {
		NewWithT(t).Expect(status.Code(DecodeFailure(encoded))).To(Equal(codes.Internal))
	}
}

// FuzzFailure: whatever a resolver sends as the failure of a request, it is an error.
func FuzzFailure(f *testing.F) {
	f.Add(EncodeFailure(EncodeFault(fault.Waiting(v1alpha1.ReasonNotAllowed, "no"))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		err := DecodeFailure(encoded)
		if err == nil {
			t.Error("no error")
		}
		_ = DecodeFault(err)
	})
}

func TestAStatusOfAnotherIsNoFault(t *testing.T) {
	for _, err := range []error{status.Error(codes.Unavailable, "whatever"), nil} {
		if f := DecodeFault(err); f != nil {
			t.Errorf("%v is taken for the fault %v", err, f)
		}
	}
}

func TestOtherVersionsCanTellWhatMayGoAway(t *testing.T) {
	g := NewWithT(t)
	passing := EncodeFault(fault.Waiting(v1alpha1.ReasonAuthFailed, "no").WithClass(fault.ClassTransient))
	g.Expect(status.Code(passing)).To(Equal(codes.Unavailable), "an older node looks at the code")
	g.Expect(status.Code(EncodeFault(fault.Waiting(v1alpha1.ReasonAuthFailed, "no")))).To(Equal(codes.FailedPrecondition))

	for code, class := range map[codes.Code]fault.Class{
		codes.Unavailable: fault.ClassTransient, codes.FailedPrecondition: fault.ClassWaiting,
	} {
		older, err := status.New(code, "no").WithDetails(&errdetails.ErrorInfo{Reason: v1alpha1.ReasonInternal, Domain: ErrorDomain})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(DecodeFault(older.Err()).Class).To(Equal(class), "an older resolver says no class")
	}
}
