package expression

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// parsedJSON returns a spec.value as the API server hands it out.
func parsedJSON(t testing.TB, source string) map[string]apiextensionsv1.JSON {
	t.Helper()
	var value map[string]apiextensionsv1.JSON
	NewWithT(t).Expect(json.Unmarshal([]byte(source), &value)).To(Succeed())
	return value
}

func parsedValue(t testing.TB, source string) *Value {
	t.Helper()
	value, err := ParseValue(parsedJSON(t, source))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return value
}

func TestValueKeepsTypesAtEveryDepth(t *testing.T) {
	g := NewWithT(t)
	value := parsedValue(t, `{
		"host": "h", "port": 1521.00, "tls": true, "none": null, "big": 12345678901234567890123,
		"nested": {"list": ["vault.secret(number)", ["vault.secret(list)", "p=vault.secret(number)"],
			{"o": "vault.secret(object)"}, 7]},
		"literal": "vault.text(\"vault.secret(x)\")", "url": "https://vault.example.com",
		"emptyList": [], "emptyObject": {}
	}`)
	result, err := value.Evaluate(context.Background(), sample)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result).To(Equal(map[string]any{
		"host": "h", "port": json.Number("1521.00"), "tls": true, "none": nil,
		"big": json.Number("12345678901234567890123"),
		"nested": map[string]any{"list": []any{
			json.Number("1521.00"),
			[]any{[]any{json.Number("1"), "x<y", nil}, "p=1521.00"},
			map[string]any{"o": map[string]any{"b": json.Number("1e400"), "a": "&"}},
			json.Number("7"),
		}},
		"literal": "vault.secret(x)", "url": "https://vault.example.com",
		"emptyList": []any{}, "emptyObject": map[string]any{},
	}))
}

func TestValueMayBeEmpty(t *testing.T) {
	g := NewWithT(t)
	value, err := ParseValue(nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value.Keys()).To(BeEmpty())
	g.Expect(value.References()).To(BeEmpty())
	g.Expect(value.Evaluate(context.Background(), nil)).To(BeEmpty())

	value, err = ParseValue(map[string]apiextensionsv1.JSON{"a": {}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value.Evaluate(context.Background(), nil)).To(Equal(map[string]any{"a": nil}))
}

func TestValueSaysWhereItsReferencesStand(t *testing.T) {
	value := parsedValue(t, `{
		"z": "vault.secret(m:p.k)", "a": {"b.c": "vault.secret(s.k)",
		"": ["", {"x": "vault.secret(1)vault.secret(2)"}]},
		"q\"\n": "vault.secret(k)", "ü": "vault.secret(k)", "vault.secret(key)": 1,
		"l": [0,1,"vault.secret(k)",3,4,5,6,7,8,9,"vault.secret(k)"]
	}`)
	places := make([]string, 0)
	for _, placed := range value.References() {
		places = append(places, placed.Place+" "+placed.Reference.String())
	}
	NewWithT(t).Expect(places).To(Equal([]string{
		`a[""][1].x vault.secret(1)`, `a[""][1].x vault.secret(2)`, `a["b.c"] vault.secret(s.k)`,
		`l[2] vault.secret(k)`, `l[10] vault.secret(k)`, `["q\"\n"] vault.secret(k)`, `z vault.secret(m:p.k)`, `["ü"] vault.secret(k)`,
	}))
}

func TestValueNeverScansKeys(t *testing.T) {
	value := parsedValue(t, `{"vault.secret(a)": {"vault.read(": "x"}}`)
	NewWithT(t).Expect(value.Evaluate(context.Background(), nil)).
		To(Equal(map[string]any{"vault.secret(a)": map[string]any{"vault.read(": "x"}}))
}

func TestValuePutsThePlaceInFrontOfAnErrorOfLookup(t *testing.T) {
	g := NewWithT(t)
	_, err := parsedValue(t, `{"b": "vault.secret(nowhere)", "a": {"list": [1, "vault.secret(missing)"]}}`).Evaluate(context.Background(), sample)
	g.Expect(err).To(MatchError(`key "a.list[1]": there is no key "missing"`))
	g.Expect(fault.Is(err, v1alpha1.ReasonKeyMissing)).To(BeTrue())
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting))
}

func TestParseValueReportsTheFirstOfAllErrors(t *testing.T) {
	nested := func(depth int) string {
		return strings.Repeat(`[`, depth) + `"vault.secret(k)"` + strings.Repeat(`]`, depth)
	}
	longKey := strings.Repeat("k", 100_000)
	for _, row := range []struct{ name, source, reason, sentence string }{
		{"one", `{"a": {"b.c": "x vault.read(y)"}}`, v1alpha1.ReasonInvalidExpression,
			`^key a\["b\.c"\]: column 3: unknown function vault\.read.*"\)$`},
		{"two", `{"b": "vault.secret(", "a": ["vault.secret()"]}`, v1alpha1.ReasonInvalidExpression,
			`^key "a\[0\]": .* \(and one more place is wrong\)$`},
		{"many", `{"c": "vault.x(", "b": "vault.secret(", "a": ["vault.secret()", "vault.text()"]}`, v1alpha1.ReasonInvalidExpression,
			`^key "a\[0\]": .* \(and 3 more places are wrong\)$`},
		{"too deep", `{"a": ` + nested(maxDepth+1) + `}`, v1alpha1.ReasonInvalidSpec,
			`^key "a\[0\].*….*": more than 64 lists and objects are nested here$`},
		{"far too deep", `{"a": ` + nested(9_000) + `}`, v1alpha1.ReasonInvalidSpec, `nested here$`},
		{"a long key", `{"` + longKey + `": "vault.secret("}`, v1alpha1.ReasonInvalidExpression, `^key "k+…k+": column 14: `},
		{"too many references", `{"a": ["` + strings.Repeat(`vault.secret(k)","`, maxReferences+10) + `"]}`,
			v1alpha1.ReasonInvalidExpression,
			`^key "a\[1024\]": with it the value holds more than 1024 references$`},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := ParseValue(parsedJSON(t, row.source))
			g.Expect(err).To(MatchError(MatchRegexp(row.sentence)))
			g.Expect(len(err.Error())).To(BeNumerically("<", 600))
			g.Expect(fault.Is(err, row.reason)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
		})
	}
	t.Run("the deepest that is allowed", func(t *testing.T) {
		NewWithT(t).Expect(parsedValue(t, `{"a": `+nested(maxDepth)+`}`).References()).To(HaveLen(1))
	})
	for _, raw := range []string{`hunter2`, `"hunter2`, `1 hunter2`, ` `, strings.Repeat("[", 20_000)} {
		t.Run(fmt.Sprintf("no JSON %.9s", raw), func(t *testing.T) {
			_, err := ParseValue(map[string]apiextensionsv1.JSON{"a": {Raw: []byte(raw)}})
			NewWithT(t).Expect(err).To(MatchError(`key "a": not valid JSON, or nested too deep`))
			NewWithT(t).Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
		})
	}
}

func TestOverridesReplaceWholeKeysLiterally(t *testing.T) {
	g := NewWithT(t)
	value := parsedValue(t, `{"service": "xe", "password": "vault.secret(string)", "user": "vault.secret(number)", "list": [1]}`)
	overridden, err := value.WithOverrides(map[string]string{
		"service": "xe2", "password": "vault.secret(big)", "list": "\x00$(x)",
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(overridden.References()).
		To(Equal([]Placed{{Place: "user", Reference: Reference{Key: "number"}, noun: nounKey}}))
	g.Expect(overridden.Keys()).To(Equal([]string{"list", "password", "service", "user"}))
	g.Expect(overridden.Evaluate(context.Background(), sample)).To(Equal(map[string]any{
		"service": "xe2", "password": "vault.secret(big)", "user": json.Number("1521.00"), "list": "\x00$(x)"}))
	g.Expect(value.References()).To(HaveLen(2), "the value itself does not change")
	g.Expect(value.WithOverrides(nil)).To(Equal(value))
}

func TestOverridesNeverAddKeys(t *testing.T) {
	const canary = "correct-horse"
	for _, row := range []struct{ name, value, override, sentence string }{
		{"an unknown key", `{"host": 1, "a.b": {"x": 1}}`, "hots", `value.hots overrides a key that value does not have; it has "a.b", host`},
		{"a nested key", `{"a": {"x": 1}}`, "a.x", `value."a.x" overrides a key that value does not have; it has a`},
		{"no key", `{}`, "", `value."" overrides a key that value does not have; it has none`},
		{"more keys than fit", `{"1":1,"2":1,"3":1,"4":1,"5":1,"6":1,"7":1,"8":1,"9":1,"A":1,"B":1}`, "\n",
			`value."\n" overrides a key that value does not have; it has 1, 2, 3, 4, 5, 6, 7, 8, 9, A, …`},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := parsedValue(t, row.value).WithOverrides(map[string]string{row.override: canary})
			g.Expect(err).To(MatchError(row.sentence))
			g.Expect(fault.Is(err, v1alpha1.ReasonUnknownOverride)).To(BeTrue())
			g.Expect(err.Error()).NotTo(ContainSubstring(canary))
		})
	}
}

func TestTextsOfFilesAreParsedAndPlacedAsFiles(t *testing.T) {
	g := NewWithT(t)
	texts, err := ParseTexts(map[string]string{
		"jdbc.url": "jdbc:vault.secret(string)/vault.secret(number)", "port": "vault.secret(number)", "plain": "x", "empty": "",
	})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(texts.References()).To(HaveLen(3))
	g.Expect(texts.References()[0].Place).To(Equal("jdbc.url"))
	g.Expect(texts.References()[0].In(fault.Transient(v1alpha1.ReasonInternal, "oops"))).
		To(MatchError(`file "jdbc.url": oops`))
	result, err := texts.Evaluate(context.Background(), sample)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result).To(HaveKeyWithValue("port", json.Number("1521.00")))
	g.Expect(result).To(HaveKeyWithValue("plain", "x"))
	g.Expect(result).To(HaveKeyWithValue("jdbc.url", HaveSuffix("/1521.00")))

	_, err = ParseTexts(map[string]string{"b": "vault.secret(", "a.txt": "x vault.read(y)"})
	g.Expect(err).To(MatchError(MatchRegexp(`^file "a.txt": column 3: unknown function.* \(and one more place is wrong\)$`)))
	texts, err = ParseTexts(map[string]string{"a": "vault.secret(missing)"})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = texts.Evaluate(context.Background(), sample)
	g.Expect(err).To(MatchError(`file "a": there is no key "missing"`))
}
