package resolver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/builder"
)

func TestOnlyWhatReferencesNameIsKeptOfASecret(t *testing.T) {
	g := NewWithT(t)
	whole := &secrets.Secret{Path: "secret/data/db", Version: 3, Data: map[string]any{"user": "scott", "large": "x"}}
	s := &source{}
	s.want(expression.Reference{Key: "user"})
	s.want(expression.Reference{Key: "absent"})
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

// Where references lead into text that is JSON, others who make files at the time are no reason to wait: that took as much as
// the largest text takes, and so whoever had it waited for as long as anybody made files.
func TestAReferenceIntoJSONWaitsForNobodyWhileThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		for _, namespace := range []string{"one", "two", "three"} {
			_, entered := e.gates.making.TryEnter(namespace, makingPrice)
			g.Expect(entered).To(BeTrue())
		}
		made := func(text string) error {
			m := &memory{gates: e.gates, namespace: "shop", parses: true}
			defer m.release()
			g.Expect(m.reserve("secret/data/a", map[string]any{"a": []any{text}})).To(Succeed())
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return m.making(ctx, func() error { return nil })
		}
		g.Expect(made(`{"db": {"password": "x", "ports": [5432]}}`)).To(Succeed())
		g.Expect(made(strings.Repeat("x", 1<<20))).To(Succeed(), "no JSON")
		g.Expect(made(" ["+strings.Repeat("{},", 1<<16))).NotTo(Succeed(), "what may take all is reckoned with")
	})
}

// No JSON takes more once it is parsed than is reckoned with.
func TestParsedJSONIsReckonedWith(t *testing.T) {
	for _, text := range []string{"[]", "{}", `[[],[],[]]`, "[" + strings.Repeat("[],", 1000) + "[]]", "[" + strings.Repeat("1,", 1000) + "1]",
		strings.Repeat("[", 500) + strings.Repeat("]", 500), `{"a":{"b":{}}}`, `["` + strings.Repeat(`\u0000`, 99) + `"]`} {
		NewWithT(t).Expect(heap.OfJSON([]byte(text), 1<<30)).To(BeNumerically("<=", 336+32+int64(len(text))*parsedPerByte), text)
	}
}

func TestARequestReckonsWithEachAttachedSecret(t *testing.T) {
	g := NewWithT(t)
	gates := newGates()
	var attached []v1alpha1.VaultSecret
	for i := range maxParallel {
		attached = append(attached, builder.VaultSecret("", fmt.Sprint("a/", i)))
	}
	memory, err := gates.begin(t.Context(), builder.Connection("shop", "db", map[string]any{"a": "vault.secret(k)"}, builder.WithSecrets(attached...)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(gates.work.Inside("shop")).To(BeNumerically(">=", requestPrice+readPrice*maxParallel))
	memory.release()
}

func TestFilesThatFindNoRoomToBeMadeSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		_, entered := e.gates.making.TryEnter("shop", heap.MakingShare)
		g.Expect(entered).To(BeTrue())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := e.Resolve(ctx, literal("shop", `"text"`), Volume{})
		g.Expect(fault.Is(err, v1alpha1.ReasonRateLimited)).To(BeTrue(), "%v", err)
		g.Expect(fault.From(err).Message()).To(And(ContainSubstring("namespace shop"), ContainSubstring("this passes")))
		_, err = e.Resolve(t.Context(), literal("other", `"text"`), Volume{})
		g.Expect(err).NotTo(HaveOccurred())
	})
}
