package expression

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// echo is a Lookup that answers with the expression itself: text that must not be scanned again.
func echo(reference Reference) (any, error) { return reference.String(), nil }

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "vault.secret(a)", "vault.secret(a.b)", "vault.secret(c:p/q.k)",
		`vault.secret(main:"data/my.app"."a.b")`, "vault.secret(a.*)", "vault.secret(c:p.*, {})", "vault.secret(*)", "vault.secret(a.b.c.0)",
		`vault.secret(a . "*" . "0.1", [ 1, "\u0041)" ])`, "vault.secret(a, 1e400)", "vault.secret(a, tru)", `vault.secret(a,"`, "vault.secret(a,1,2)",
		`vault.secret( "\u0000\ud800" . "\\\"" )`, `vault.text("vault.secret(a)")x`, `vault.text("")vault.secret(a)`,
		"vault.secret(", `vault.secret("`,
		`vault.secret("\`, "vault.secert(a)", "xvault.read(a)", "vault.vault.secret(a)", "\xff",
		"größe vault.secret()", "vault.secret(\x00)", "vault.é(",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		literalTextSurvives(t, s)
		text, err := Parse(s)
		if err != nil {
			requireBoundedFault(t, err, v1alpha1.ReasonInvalidExpression)
			return
		}
		for _, reference := range text.References() {
			again, refused := Parse(reference.String())
			if refused != nil {
				t.Fatalf("%q does not parse: %v", reference.String(), refused)
			}
			if found := again.References(); len(found) != 1 || !found[0].Equal(reference) {
				t.Fatalf("%#v came back as %#v", reference, again.References())
			}
		}
		value, err := text.Evaluate(context.Background(), echo)
		if err != nil {
			requireBoundedFault(t, err, v1alpha1.ReasonTooLarge, v1alpha1.ReasonNotStructured)
			return
		}
		if _, isText := value.(string); !isText {
			t.Fatalf("strings made a %T", value)
		}
	})
}

// literalTextSurvives checks that vault.text brings any text through.
func literalTextSurvives(t *testing.T, s string) {
	t.Helper()
	if !utf8.ValidString(s) {
		return
	}
	text, err := Parse("vault.text(" + quote(s) + ")")
	if err != nil {
		t.Fatal(err)
	}
	if value, err := text.Evaluate(context.Background(), nil); err != nil || value != s {
		t.Fatalf("%q became %q, %v", s, value, err)
	}
}

func requireBoundedFault(t *testing.T, err error, reasons ...string) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || !slices.Contains(reasons, f.Reason) {
		t.Fatalf("not a fault of %v: %v", reasons, err)
	}
	// Each of the 80 characters of an excerpt has ten bytes at most when it is quoted, and there are two of them.
	if len(f.Message()) > 2200 || !utf8.ValidString(f.Message()) {
		t.Fatalf("a sentence of %d bytes: %q", len(f.Message()), f.Message())
	}
}

func FuzzParseValue(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "[]", "null", `"vault.secret(a)"`, `["vault.secret(a)", {"b.c": "x vault.secret(a.b)"}]`, `{"": "vault.secret("}`, `{"a":1} x`,
		`[[[[[["vault.text(\"\")"]]]]]]`, `"\ud800"`, "\"\xff\"", `-0.0e+1`, `{"a":"vault.secret(a)","a":"vault.x("}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		value, err := ParseValue(map[string]apiextensionsv1.JSON{"k": {Raw: raw}})
		if err != nil {
			requireBoundedFault(t, err, v1alpha1.ReasonInvalidExpression, v1alpha1.ReasonInvalidSpec)
			return
		}
		again, err := ParseValue(map[string]apiextensionsv1.JSON{"k": {Raw: raw}})
		if err != nil || !reflect.DeepEqual(value, again) || !reflect.DeepEqual(value.References(), again.References()) {
			t.Fatalf("the same value was parsed differently: %v", err)
		}
		for _, placed := range value.References() {
			if placed.Place == "" || placed.Reference.Key == "" && !placed.Reference.Whole {
				t.Fatalf("empty: %#v", placed)
			}
		}
		result, err := value.Evaluate(context.Background(), echo)
		if err != nil {
			requireBoundedFault(t, err, v1alpha1.ReasonTooLarge, v1alpha1.ReasonNotStructured)
			return
		}
		if _, err := json.Marshal(result); err != nil {
			t.Fatal(err)
		}
	})
}
