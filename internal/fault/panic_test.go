package fault_test

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAPanicIsAnErrorWithoutWhatWasPanickedWith(t *testing.T) {
	g := NewWithT(t)
	err := fault.Guard(func() error { panic("canary-value-QX7") })
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	recovered, ok := errors.AsType[*fault.Recovered](err)
	g.Expect(ok).To(BeTrue())
	g.Expect(recovered.Stack).To(ContainSubstring("panic_test.go"))
	g.Expect(err.Error() + recovered.Stack).NotTo(ContainSubstring("canary"))
	g.Expect(fault.Guard(func() error { return nil })).To(Succeed())
}
