package expression

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

var structured = func(reference Reference) (any, error) {
	values := map[string]any{
		"object": map[string]any{"hosts": []any{"a", map[string]any{"port": json.Number("1521.0")}}, "none": nil, "a.b": "dotted", "0": "zero"},
		"text":   ` {"hosts": ["a", {"port": 1521.0}], "inner": "[\"x\", \"{\\\"deep\\\": true}\"]", "plain": "x"}` + "\n",
		"number": json.Number("7"), "plain": "correct-horse", "none": nil, "cut": `{"a": "correct-horse"`, "two": `{"a": 1} {"a": 2}`,
	}
	if reference.Whole {
		return values, nil
	}
	value, found := values[reference.Key]
	if !found {
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing, "there is no key %q", reference.Key).WithAbsent()
	}
	if strings.HasPrefix(reference.Secret, "optional") {
		return Optional{Value: value}, nil
	}
	return value, nil
}

func TestFieldsLeadIntoObjectsListsAndJSONInText(t *testing.T) {
	for source, expected := range map[string]any{
		"vault.secret(s.object.hosts.1.port)":                json.Number("1521.0"),
		"p=vault.secret(s.object.hosts.1)":                   `p={"port":1521.0}`,
		`vault.secret(s.object."a.b")`:                       "dotted",
		"vault.secret(s.object.0)":                           "zero",
		"vault.secret(s.text.hosts.1.port)":                  json.Number("1521.0"),
		"vault.secret(s.text.hosts)":                         []any{"a", map[string]any{"port": json.Number("1521.0")}},
		"vault.secret(s.text.inner.1.deep)":                  true,
		"vault.secret(s.*)":                                  nil, // looked at below
		`vault.secret(s.missing, "x")`:                       "x",
		`vault.secret(s.missing.field, 5432)`:                json.Number("5432"),
		`vault.secret(s.object.hosts.2, {"a":[]})`:           map[string]any{"a": []any{}},
		`vault.secret(s.text.missing, null)`:                 nil,
		`<vault.secret(s.text.missing, null)>`:               "<>",
		`vault.secret(s.none.field, "nothing there")`:        "nothing there",
		`vault.secret(s.none, "x")`:                          nil, // it is there, and null
		`u:vault.secret(s.missing, "vault.secret(s.plain)")`: "u:vault.secret(s.plain)",
		"vault.secret(optional.text.missing.deeper)":         nil,
		"vault.secret(optional.text.plain)":                  "x",
	} {
		t.Run(source, func(t *testing.T) {
			g := NewWithT(t)
			text, err := Parse(source)
			g.Expect(err).NotTo(HaveOccurred())
			value, err := text.Evaluate(context.Background(), structured)
			g.Expect(err).NotTo(HaveOccurred())
			if source == "vault.secret(s.*)" {
				g.Expect(value).To(HaveLen(7))
				return
			}
			if expected == nil {
				g.Expect(value).To(BeNil())
				return
			}
			g.Expect(value).To(Equal(expected))
		})
	}
}

func TestFieldsThatLeadNowhereSaySoWithPlaceAndCure(t *testing.T) {
	const whole = "refer to all of it, or keep an object or a list there"
	const absent = "correct it, write it to Vault, or give the reference a default: "
	for _, row := range []struct{ source, reason, sentence string }{
		{"vault.secret(s.plain.a)", v1alpha1.ReasonNotStructured, "plain: it is text that holds no JSON object or list; " + whole},
		{`vault.secret(s.plain.a, "default")`, v1alpha1.ReasonNotStructured, "plain: it is text that holds no JSON object or list; " + whole},
		{"vault.secret(s.text.plain.0)", v1alpha1.ReasonNotStructured, "text.plain: it is text that holds no JSON object or list; " + whole},
		{"vault.secret(s.cut.a)", v1alpha1.ReasonNotStructured, "cut: it is text that holds no JSON object or list; " + whole},
		{"vault.secret(s.two.a)", v1alpha1.ReasonNotStructured, "two: it is text that holds no JSON object or list; " + whole},
		{"vault.secret(s.number.a)", v1alpha1.ReasonNotStructured, `number: it is a single value, in which nothing can be called "a"; ` + whole},
		{"vault.secret(s.object.hosts.first)", v1alpha1.ReasonNotStructured,
			`object.hosts: it is a list, in which "first" is nothing; its items have numbers, from 0 on`},
		{"vault.secret(s.object.hosts.01)", v1alpha1.ReasonNotStructured, `object.hosts: it is a list, in which "01" is nothing; its items have numbers, from 0 on`},
		{"vault.secret(s.object.hosts.2)", v1alpha1.ReasonKeyMissing, `object.hosts: it has no field "2"; ` + absent + `vault.secret(s.object.hosts.2, "…")`},
		{"vault.secret(s.object.port)", v1alpha1.ReasonKeyMissing, `object: it has no field "port"; ` + absent + `vault.secret(s.object.port, "…")`},
		{"vault.secret(s.object.tls.crt)", v1alpha1.ReasonKeyMissing, `object: it has no field "tls"; ` + absent +
			`vault.secret(s.object.tls.crt, "…"); a name with a dot in it stands in quotes: vault.secret(s.object."tls.crt")`},
		{"vault.secret(s.none.port)", v1alpha1.ReasonKeyMissing, `none: it has no field "port"; ` + absent + `vault.secret(s.none.port, "…")`},
	} {
		t.Run(row.source, func(t *testing.T) {
			g := NewWithT(t)
			_, err := parsedValue(t, `{"a": {"b": [`+quote(row.source)+`]}}`).Evaluate(context.Background(), structured)
			g.Expect(err).To(MatchError(`key "a.b[0]": ` + row.source + ": " + row.sentence))
			g.Expect(fault.Is(err, row.reason)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting))
		})
	}
}

func TestOnlyWhatIsAbsentHasADefault(t *testing.T) {
	g := NewWithT(t)
	denied := fault.Waiting(v1alpha1.ReasonPermissionDenied, "denied")
	text, err := Parse(`vault.secret(s.k, "default")`)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = text.Evaluate(context.Background(), func(Reference) (any, error) { return nil, denied })
	g.Expect(err).To(Equal(denied))
}

func TestJSONInTextIsParsedOnceAndWithinABudget(t *testing.T) {
	g := NewWithT(t)
	hostile := "[" + strings.Repeat("{},", 200_000) + `"last"]` // 600 KB, which takes 70 MB as a tree
	value := parsedValue(t, `{"a": "vault.secret(s.k.0)"}`)
	_, err := value.Evaluate(context.Background(), secrets(map[string]any{"k": hostile}))
	g.Expect(err).To(MatchError(`key "a": vault.secret(s.k.0): k: with it the JSON that references lead into takes more than 4 MiB of memory; ` +
		`keep it in Vault as an object and not as text, or in several keys`))

	honest := "[" + strings.Repeat(`"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",`, 10_000) + "1]"
	value = parsedValue(t, `{"a": ["`+strings.Repeat(`vault.secret(s.k.10000)","`, 1023)+`"]}`)
	result, err := value.Evaluate(context.Background(), secrets(map[string]any{"k": honest}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result["a"]).To(HaveLen(1024))

	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	_, err = parsedValue(t, `{"a": "vault.secret(s.k.0)"}`).Evaluate(context.Background(), secrets(map[string]any{"k": deep}))
	g.Expect(fault.Is(err, v1alpha1.ReasonNotStructured)).To(BeTrue(), "%v", err)
}

func TestAnOpaqueAnswerStandsForWhateverFieldsLeadTo(t *testing.T) {
	g := NewWithT(t)
	text, err := Parse(`vault.secret(s.k.a.b, 1)`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(text.Evaluate(context.Background(), func(Reference) (any, error) { return Opaque("stands for it"), nil })).To(Equal("stands for it"))
}

func FuzzFollow(f *testing.F) {
	for _, seed := range []string{`{"a":[1]}`, `[[]]`, `"{\"a\":1}"`, `{"a":"[0]"}`, `{"a":{"a":null}}`, "{", "null", `{"a":1,"a":[2]}`} {
		f.Add(seed, "a", "0")
	}
	f.Fuzz(func(t *testing.T, text, first, second string) {
		copies := newCopier(context.Background())
		value, err := copies.follow(text, Reference{Secret: "s", Key: "k", Fields: []string{first, second}})
		if err != nil {
			requireBoundedFault(t, err, v1alpha1.ReasonKeyMissing, v1alpha1.ReasonNotStructured, v1alpha1.ReasonTooLarge)
			return
		}
		if _, err := json.Marshal(value); err != nil {
			t.Fatal(err)
		}
	})
}
