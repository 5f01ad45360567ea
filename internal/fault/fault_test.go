package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
)

func TestTheSentenceIsRenderedFromItsParts(t *testing.T) {
	shop := Subject{Kind: KindConnection, Namespace: "shop", Name: "db"}
	missing := Waiting(v1alpha1.ReasonKeyMissing, "no key %q", "x")
	wrong := Terminal(v1alpha1.ReasonInvalidSpec, "is wrong").OnField("key %q", "a")
	for want, f := range map[string]*Fault{
		`no key "x"`:                                         missing,
		`no key "x"; add it`:                                 missing.WithRemedy("add %s", "it"),
		`no key "x"; add; or look`:                           missing.WithRemedy("add").AddRemedy("or look"),
		`no key "x"; look`:                                   missing.AddRemedy("look"),
		`no key "x" (and 2 more)`:                            missing.AndMore("%d more", 2),
		`key "a.b": no key "x"`:                              InField(missing, "key %q", "a.b"),
		`Connection shop/db, key "a.b": no key "x"`:          InObject(InField(missing, "key %q", "a.b"), shop),
		`Connection shop/db: no key "x"`:                     InObject(missing, shop),
		`file "f": key "a": no key "x"`:                      InField(InField(missing, `key "a"`), `file "f"`),
		`writing the files: no key "x"`:                      In(missing, "writing the %s", "files"),
		`Connection shop/db, key "a" is wrong`:               InObject(wrong, shop),
		`Connection shop/db, file "f": key "a" is wrong; go`: InObject(InField(wrong.WithRemedy("go"), `file "f"`), shop),
	} {
		NewWithT(t).Expect(f.Message()).To(Equal(want))
		NewWithT(t).Expect(f.Error()).To(Equal(want))
	}
}

func TestWhatIsAddedLeavesTheRestAsItIs(t *testing.T) {
	g := NewWithT(t)
	subject := Subject{Kind: KindVaultConfig, Namespace: "shop", Name: "main"}
	inner := Terminal(v1alpha1.ReasonKeyMissing, "none").WithRemedy("add it").WithOutcomeUnknown(true)
	f := In(About(fmt.Errorf("outer: %w", inner), subject), "here")
	g.Expect([]any{f.Reason, f.Class, f.Subject, f.Problem, f.Remedy, f.OutcomeUnknown}).
		To(Equal([]any{v1alpha1.ReasonKeyMissing, ClassTerminal, subject, "none", "add it", true}))
	g.Expect(About(f, Subject{Kind: KindConnection}).Subject).To(Equal(subject), "who is nearer knows better")
	g.Expect(inner.Message()).To(Equal("none; add it"), "a fault is never changed")
	g.Expect(inner.Subject).To(BeZero())
}

func TestATerminalFaultOfAnotherObjectIsWaitedFor(t *testing.T) {
	g := NewWithT(t)
	config := Subject{Kind: KindVaultConfig, Namespace: "shop", Name: "main"}
	task := Subject{Kind: KindVaultTask, Namespace: "shop", Name: "rotate"}
	f := About(Terminal(v1alpha1.ReasonInvalidSpec, "bad"), config)
	g.Expect(f.For(task).Class).To(Equal(ClassWaiting))
	g.Expect(f.For(config).Class).To(Equal(ClassTerminal))
	g.Expect(Terminal(v1alpha1.ReasonInvalidSpec, "bad").For(task).Class).To(Equal(ClassTerminal), "its own")
	g.Expect(About(Transient(v1alpha1.ReasonVaultSealed, "sealed"), config).For(task).Class).To(Equal(ClassTransient))
}

func TestClassesHaveNames(t *testing.T) {
	g := NewWithT(t)
	for _, class := range []Class{ClassTransient, ClassWaiting, ClassTerminal} {
		parsed, ok := ParseClass(class.String())
		g.Expect(ok).To(BeTrue())
		g.Expect(parsed).To(Equal(class))
	}
	_, ok := ParseClass("")
	g.Expect(ok).To(BeFalse())
}

func TestFromFindsTheFaultInAChain(t *testing.T) {
	g := NewWithT(t)
	inner := Waiting(v1alpha1.ReasonConfigNotFound, "none")
	g.Expect(From(fmt.Errorf("outer: %w", inner))).To(BeIdenticalTo(inner))
	g.Expect(From(errors.New("foreign"))).To(Equal(&Fault{Reason: v1alpha1.ReasonInternal, Problem: "foreign", Class: ClassTransient}))
	g.Expect(From(context.DeadlineExceeded).Message()).To(ContainSubstring("given up before an answer came"))
}

func TestIsComparesReasons(t *testing.T) {
	g := NewWithT(t)
	err := fmt.Errorf("outer: %w", Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	g.Expect(Is(err, v1alpha1.ReasonVaultSealed)).To(BeTrue())
	g.Expect(Is(err, v1alpha1.ReasonVaultError)).To(BeFalse())
	g.Expect(Is(nil, v1alpha1.ReasonVaultError)).To(BeFalse())
	g.Expect(OutcomeUnknown(err)).To(BeFalse())
	g.Expect(OutcomeUnknown(fmt.Errorf("outer: %w", Transient(v1alpha1.ReasonVaultError, "500").WithOutcomeUnknown(true)))).To(BeTrue())
}
