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
	requests := make([]*memory, 4)
	for i := range requests {
		requests[i] = &memory{gate: e.kept, namespace: "greedy"}
	}
	for _, m := range requests[:3] {
		g.Expect(m.reserve("secret/data/a", values(7))).To(Succeed())
		g.Expect(fault.Is(m.reserve("secret/data/b", values(2)), v1alpha1.ReasonTooLarge)).To(BeTrue(), "of one request")
	}
	g.Expect(fault.Is(requests[3].reserve("secret/data/a", values(7)), v1alpha1.ReasonRateLimited)).To(BeTrue(), "of one namespace")
	other := &memory{gate: e.kept, namespace: "other"}
	g.Expect(other.reserve("secret/data/a", values(7))).To(Succeed())
	requests[0].release()
	g.Expect(requests[3].reserve("secret/data/a", values(7))).To(Succeed())
}
