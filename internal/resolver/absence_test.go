package resolver

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/builder"
)

func TestASecretThatIsNotThereIsReadOnceAnIntervalByWhoCanDoWithout(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	absence := fault.Waiting(v1alpha1.ReasonSecretNotFound, "nothing there").WithAbsent()
	c.RecordAbsence("s", absence, clk.Now())
	clk.SetTime(clk.Now().Add(failureTTL))

	version, fresh, err := c.Get("s", ab, interval, true)
	g.Expect(version).To(Equal(absentVersion))
	g.Expect(fresh).To(BeTrue())
	g.Expect(err).To(Equal(absence))
	_, fresh, err = c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeFalse(), "who needs it asks again")
	g.Expect(err).NotTo(HaveOccurred())
	clk.SetTime(clk.Now().Add(interval))
	_, fresh, _ = c.Get("s", ab, interval, true)
	g.Expect(fresh).To(BeFalse())

	one := c.Record("s", &secrets.Secret{Version: 1}, ab, clk.Now())
	version, fresh, err = c.Get("s", ab, interval, true)
	g.Expect(version).To(Equal(one))
	g.Expect(fresh).To(BeTrue())
	g.Expect(err).NotTo(HaveOccurred())
	c.RecordAbsence("s", absence, clk.Now())
	c.Invalidate("")
	_, fresh, err = c.Get("s", ab, interval, true)
	g.Expect(fresh).To(BeFalse(), "a VaultTask has written it")
	g.Expect(err).NotTo(HaveOccurred())
}

func TestASecretThatIsWantedWholeIsComparedWhole(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	whole := (&source{whole: true, wanted: map[string]bool{"a": true}}).fields()
	first := c.Record("s", &secrets.Secret{Data: map[string]any{"a": "1"}}, whole, clk.Now())
	g.Expect(c.Record("s", &secrets.Secret{Data: map[string]any{"a": "1"}}, whole, clk.Now())).To(Equal(first))
	g.Expect(c.Record("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": nil}}, whole, clk.Now())).NotTo(Equal(first))
}

// looked is a plan whose sources there has values for; the others are absent.
func looked(g *WithT, value map[string]any, there map[string]map[string]any, attached ...v1alpha1.VaultSecret) (*plan, *expression.Value) {
	connection := builder.Connection("shop", "db", value, builder.WithSecrets(attached...))
	parsed, err := expression.ParseValue(connection.Spec.Value)
	g.Expect(err).NotTo(HaveOccurred())
	p, err := newPlan("shop", connection.Spec.VaultSecrets, parsed.References())
	g.Expect(err).NotTo(HaveOccurred())
	for _, s := range p.sources {
		s.path = s.location.SecretPath
		if data, found := there[s.path]; found {
			s.keep(&secrets.Secret{Data: data}, true)
			continue
		}
		s.err = fault.Waiting(v1alpha1.ReasonSecretNotFound, "nothing at %s", s.path).WithAbsent()
		s.forgive()
	}
	return p, parsed
}

func TestOnlyWhatIsAbsentIsReplaced(t *testing.T) {
	optional := builder.VaultSecret("o", "opt")
	optional.Optional = new(bool)
	*optional.Optional = true
	required := builder.VaultSecret("r", "req")
	for name, row := range map[string]struct {
		reference string
		there     map[string]map[string]any
		expected  any
		reason    string
	}{
		"an optional secret that is not there":                 {"vault.secret(o.k)", nil, nil, ""},
		"the same, whole":                                      {"vault.secret(o.*)", nil, nil, ""},
		"the same, with a default":                             {"vault.secret(o.k, 1)", nil, json.Number("1"), ""},
		"a key that an optional secret lacks":                  {"vault.secret(o.k)", map[string]map[string]any{"opt": {"a": "1"}}, nil, ""},
		"a field that an optional secret lacks":                {"vault.secret(o.k.f)", map[string]map[string]any{"opt": {"k": map[string]any{}}}, nil, ""},
		"an optional secret that is there":                     {"vault.secret(o.k, 1)", map[string]map[string]any{"opt": {"k": "x"}}, "x", ""},
		"a secret that is not there, with a default":           {`vault.secret(r.k, "d")`, nil, "d", ""},
		"a secret that is not there":                           {"vault.secret(r.k)", nil, nil, v1alpha1.ReasonSecretNotFound},
		"the whole of it":                                      {"vault.secret(r.*)", map[string]map[string]any{"req": {"a": "1", "b": "2"}}, map[string]any{"a": "1", "b": "2"}, ""},
		"the whole of it, with a default":                      {"vault.secret(r.*, {})", nil, map[string]any{}, ""},
		"a key that a secret lacks":                            {"vault.secret(r.k)", map[string]map[string]any{"req": {}}, nil, v1alpha1.ReasonKeyMissing},
		"no name, and one of the secrets is not there":         {"vault.secret(k)", map[string]map[string]any{"req": {"k": "x"}}, "x", ""},
		"no name, and none has it, but one is optional":        {"vault.secret(k)", map[string]map[string]any{"req": {}}, nil, ""},
		"no name, and one that is needed is not there":         {"vault.secret(k)", map[string]map[string]any{"opt": {"k": "x"}}, nil, v1alpha1.ReasonSecretNotFound},
		"no name, one is needed and not there, with a default": {`vault.secret(k, "d")`, map[string]map[string]any{"opt": {"k": "x"}}, "x", ""},
		"no name, none has it, and there is a default":         {`vault.secret(k, "d")`, map[string]map[string]any{"opt": {}}, "d", ""},
		"no name, and both have it, which a default cures not": {`vault.secret(k, "d")`, map[string]map[string]any{"opt": {"k": "1"}, "req": {"k": "2"}}, nil, v1alpha1.ReasonAmbiguousKey},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p, value := looked(g, map[string]any{"key": row.reference}, row.there, optional, required)
			result, err := value.Evaluate(t.Context(), p.lookup)
			doc := &document{value: value, texts: &expression.Value{}}
			checked := doc.checkReferences(p.lookup)
			if row.reason != "" {
				g.Expect(fault.Is(err, row.reason)).To(BeTrue(), "%v", err)
				g.Expect(fault.Is(checked, row.reason)).To(BeTrue(), "%v", checked)
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(checked).NotTo(HaveOccurred())
			if row.expected == nil {
				g.Expect(result["key"]).To(BeNil())
				return
			}
			g.Expect(result["key"]).To(Equal(row.expected))
		})
	}
}

func TestWhatIsDeniedIsNotAbsent(t *testing.T) {
	g := NewWithT(t)
	secret := builder.VaultSecret("o", "opt")
	secret.Optional = new(bool)
	*secret.Optional = true
	p, value := looked(g, map[string]any{"key": `vault.secret(o.k, "d")`}, nil, secret)
	for _, denied := range []error{
		fault.Waiting(v1alpha1.ReasonPermissionDenied, "denied"), fault.Transient(v1alpha1.ReasonVaultUnreachable, "away"),
		fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"), fault.Waiting(v1alpha1.ReasonSecretNotFound, "no engine there"),
	} {
		p.sources[0].err, p.sources[0].missing = denied, nil
		p.sources[0].forgive()
		_, err := value.Evaluate(t.Context(), p.lookup)
		g.Expect(fault.Is(err, fault.From(denied).Reason)).To(BeTrue(), "%v", err)
	}
}
