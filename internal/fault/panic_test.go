package fault_test

import (
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAPanicIsAnErrorWithoutWhatWasPanickedWith(t *testing.T) {
	g := NewWithT(t)
	var logged strings.Builder
	ctx := logr.NewContext(t.Context(), funcr.New(func(_, line string) { logged.WriteString(line) }, funcr.Options{}))
	err := fault.Guard(ctx, func() error { panic("canary-value-QX7") })
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(logged.String()).To(ContainSubstring("panic_test.go"))
	g.Expect(err.Error() + logged.String()).NotTo(ContainSubstring("canary"))
	g.Expect(fault.Guard(ctx, func() error { return nil })).To(Succeed())
}
