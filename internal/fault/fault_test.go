package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
)

func TestInPutsAPlaceInFrontAndKeepsTheRest(t *testing.T) {
	g := NewWithT(t)
	f := In(Invalid(v1alpha1.ReasonKeyMissing, "no key %q", "x"), "key %q", "a.b")
	g.Expect(f).To(Equal(&Fault{Reason: v1alpha1.ReasonKeyMissing, Sentence: `key "a.b": no key "x"`, Class: Terminal}))
}

func TestFromFindsTheFaultInAChain(t *testing.T) {
	g := NewWithT(t)
	inner := Wait(v1alpha1.ReasonConfigNotFound, "none")
	g.Expect(From(fmt.Errorf("outer: %w", inner))).To(BeIdenticalTo(inner))
	g.Expect(From(errors.New("foreign"))).To(Equal(&Fault{Reason: v1alpha1.ReasonInternal, Sentence: "foreign", Class: Retry}))
	g.Expect(From(context.DeadlineExceeded).Sentence).To(ContainSubstring("given up before an answer came"))
}

func TestIsComparesReasons(t *testing.T) {
	g := NewWithT(t)
	err := fmt.Errorf("outer: %w", New(v1alpha1.ReasonVaultSealed, "sealed"))
	g.Expect(Is(err, v1alpha1.ReasonVaultSealed)).To(BeTrue())
	g.Expect(Is(err, v1alpha1.ReasonVaultError)).To(BeFalse())
	g.Expect(Is(nil, v1alpha1.ReasonVaultError)).To(BeFalse())
}
