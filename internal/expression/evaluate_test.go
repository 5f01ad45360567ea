package expression

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// secrets is a Lookup that finds what the map has under the reference's key.
func secrets(values map[string]any) Lookup {
	return func(reference Reference) (any, error) {
		value, found := values[reference.Key]
		if !found {
			return nil, fault.Waiting(v1alpha1.ReasonKeyMissing, "there is no key %q", reference.Key)
		}
		return value, nil
	}
}

var sample = secrets(map[string]any{
	"string": `a"<b>&`, "empty": "", "number": json.Number("1521.00"),
	"big": json.Number("123456789012345678901234567890"), "yes": true,
	"null": nil, "list": []any{json.Number("1"), "x<y", nil},
	"object":  map[string]any{"b": json.Number("1e400"), "a": "&"},
	"hostile": `vault.secret(string) vault.text("x") $(HOME) ${A} {{.}}` + "\x00\n..",
})

func TestEvaluate(t *testing.T) {
	for _, row := range []struct {
		name, source string
		expected     any
	}{
		{"a lone reference keeps a string", `vault.secret(string)`, `a"<b>&`},
		{"a lone reference keeps a number", `vault.secret(number)`, json.Number("1521.00")},
		{"a lone reference keeps a large number", `vault.secret(big)`, json.Number("123456789012345678901234567890")},
		{"a lone reference keeps a bool", `vault.secret(yes)`, true},
		{"a lone reference keeps null", `vault.secret(null)`, nil},
		{"a lone reference keeps a list", `vault.secret(list)`, []any{json.Number("1"), "x<y", nil}},
		{"a lone reference keeps an object", `vault.secret(object)`, map[string]any{"b": json.Number("1e400"), "a": "&"}},
		{"a string goes in as it is", `u:vault.secret(string)`, `u:a"<b>&`},
		{"an empty string goes in", `[vault.secret(empty)]`, `[]`},
		{"a number becomes text", `port vault.secret(number)`, `port 1521.00`},
		{"a bool becomes text", `vault.secret(yes).`, `true.`},
		{"null in a text is nothing", `a vault.secret(null) b`, `a  b`},
		{"a list becomes compact JSON", `vault.secret(list);`, `[1,"x<y",null];`},
		{"an object becomes compact JSON", `vault.secret(object);`, `{"a":"&","b":1e400};`},
		{"two references are text", `vault.secret(number)vault.secret(number)`, `1521.001521.00`},
		{"blanks around make text", ` vault.secret(number)`, ` 1521.00`},
		{"an empty vault.text makes text", `vault.text("")vault.secret(number)`, `1521.00`},
		{"vault.text is never scanned", `vault.text("vault.secret(string)")`, `vault.secret(string)`},
		{"vault.text is a JSON string", `a vault.text( "\"\n\u00fc)" ) b`, "a \"\nü) b"},
		{"vault.text holds an unknown function", `vault.text("vault.read(")x`, `vault.read(x`},
		{"what is put in place is not scanned again", `vault.secret(hostile)`,
			`vault.secret(string) vault.text("x") $(HOME) ${A} {{.}}` + "\x00\n.."},
		{"what is put into a longer string is not scanned again", `<vault.secret(hostile)>`,
			`<vault.secret(string) vault.text("x") $(HOME) ${A} {{.}}` + "\x00\n..>"},
		{"parts do not become an expression together", `vault.text("vault.secret")(string)`, `vault.secret(string)`},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			text, err := Parse(row.source)
			g.Expect(err).NotTo(HaveOccurred())
			value, err := text.Evaluate(context.Background(), sample)
			g.Expect(err).NotTo(HaveOccurred())
			if row.expected == nil {
				g.Expect(value).To(BeNil())
				return
			}
			g.Expect(value).To(Equal(row.expected))
		})
	}
}

func TestEvaluateReturnsTheErrorOfLookup(t *testing.T) {
	g := NewWithT(t)
	text, err := Parse("u:vault.secret(nowhere)")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = text.Evaluate(context.Background(), sample)
	g.Expect(err).To(MatchError(`there is no key "nowhere"`))
	g.Expect(fault.Is(err, v1alpha1.ReasonKeyMissing)).To(BeTrue())
}

func TestEvaluateSharesNothingWithLookup(t *testing.T) {
	g := NewWithT(t)
	shared := map[string]any{"list": []any{"a"}}
	text, err := Parse("vault.secret(k)")
	g.Expect(err).NotTo(HaveOccurred())
	value, err := text.Evaluate(context.Background(), secrets(map[string]any{"k": shared}))
	g.Expect(err).NotTo(HaveOccurred())
	value.(map[string]any)["list"].([]any)[0] = "changed"
	g.Expect(shared).To(Equal(map[string]any{"list": []any{"a"}}))
}

func TestEvaluateStopsBeforeTheMemoryIsFull(t *testing.T) {
	g := NewWithT(t)
	value, err := ParseValue(parsedJSON(t, `{"a":["`+strings.Repeat(`vault.secret(k)","`, 20)+`"]}`))
	g.Expect(err).NotTo(HaveOccurred())
	for name, large := range map[string]any{
		"a string": strings.Repeat("s", 1<<20),
		"a list":   []any{strings.Repeat("s", 1<<20)},
		"a key":    map[string]any{strings.Repeat("s", 1<<20): true},
		"a number": json.Number(strings.Repeat("1", 1<<20+1)),
	} {
		_, err = value.Evaluate(context.Background(), secrets(map[string]any{"k": large}))
		g.Expect(err).To(MatchError(`key "a[3]": vault.secret(k): with it, what the references put in place exceeds 4194304 bytes; `+
			`use fewer references or smaller secrets`), name)
		g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue())
	}
}

func TestSecretValuesNeverAppearInErrors(t *testing.T) {
	const canary = "correct-horse-battery-staple"
	type unknown struct{ Secret string }
	for name, secret := range map[string]any{
		"a number that is none":        json.Number(canary),
		"a Go type that is not JSON's": unknown{canary},
		"such a type in a list":        []any{unknown{canary}},
		"such a type in an object":     map[string]any{canary: unknown{canary}},
		"bytes":                        []byte(canary),
		"a Go map":                     map[string]string{canary: canary},
		"too large a value":            map[string]any{canary: strings.Repeat(canary, 1<<18)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			value, err := ParseValue(parsedJSON(t, `{"a": "text vault.secret(k)"}`))
			g.Expect(err).NotTo(HaveOccurred())
			_, err = value.Evaluate(context.Background(), secrets(map[string]any{"k": secret}))
			g.Expect(err).To(MatchError(HavePrefix(`key "a": vault.secret(k): `)))
			g.Expect(err.Error()).NotTo(ContainSubstring(canary))
			g.Expect(errors.Unwrap(err)).To(Succeed())
		})
	}
}
