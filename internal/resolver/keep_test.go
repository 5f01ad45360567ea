package resolver

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
)

func TestOnlyWhatReferencesNameIsKeptOfASecret(t *testing.T) {
	g := NewWithT(t)
	whole := &secrets.Secret{Path: "secret/data/db", Version: 3, Data: map[string]any{"user": "scott", "large": "x"}}
	s := &source{}
	s.want("user")
	s.want("absent")
	s.keep(whole, true)
	g.Expect(s.secret.Data).To(Equal(map[string]any{"user": "scott"}))
	g.Expect(s.secret.Version).To(BeEquivalentTo(3))
	s.keep(whole, false)
	g.Expect(s.secret.Data).To(Equal(map[string]any{"user": nil}), "a check wants no value")
	g.Expect(whole.Data).To(HaveLen(2), "others share it")
}

func TestWhatRequestsKeepIsBounded(t *testing.T) {
	g := NewWithT(t)
	e := NewEngine(nil, nil, clock.RealClock{})
	values := func(mebibytes int) map[string]any { return map[string]any{"a": strings.Repeat("x", mebibytes<<20)} }
	request := func(namespace string) *memory { return &memory{gates: e.gates, namespace: namespace} }
	first, second := request("greedy"), request("greedy")
	g.Expect(first.reserve("secret/data/a", values(7))).To(Succeed())
	g.Expect(fault.Is(first.reserve("secret/data/b", values(2)), v1alpha1.ReasonTooLarge)).To(BeTrue(), "of one request")
	g.Expect(fault.Is(second.reserve("secret/data/a", values(7)), v1alpha1.ReasonRateLimited)).To(BeTrue(), "of one namespace")
	g.Expect(request("other").reserve("secret/data/a", values(7))).To(Succeed())
	first.release()
	g.Expect(second.reserve("secret/data/a", values(7))).To(Succeed())
}
