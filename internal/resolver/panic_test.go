package resolver

import (
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAPanicAtOneSecretIsItsFault(t *testing.T) {
	g := NewWithT(t)
	sources := []*source{{label: "bad"}, {label: "good"}}
	inParallel(t.Context(), sources, func(s *source) {
		if s.label == "bad" {
			panic("of a decoder")
		}
	})
	g.Expect(fault.Is(sources[0].err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(sources[1].err).NotTo(HaveOccurred())
}
