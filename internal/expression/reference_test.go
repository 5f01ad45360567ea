package expression

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestReferenceIsWrittenAsItIsParsed(t *testing.T) {
	for _, row := range []struct {
		name      string
		reference Reference
		source    string
	}{
		{"a key", Reference{Key: "password"}, `vault.secret(password)`},
		{"a whole secret", Reference{Secret: "oracle", Whole: true}, `vault.secret(oracle.*)`},
		{"a whole secret at a path", Reference{Config: "main", Path: "a/b", Whole: true}, `vault.secret(main:a/b.*)`},
		{"a key that is an asterisk", Reference{Secret: "oracle", Key: "*"}, `vault.secret(oracle."*")`},
		{"fields", Reference{Secret: "oracle", Key: "a.b", Fields: []string{"hosts", "0", "na.me"}}, `vault.secret(oracle."a.b".hosts.0."na.me")`},
		{"fields at a path", Reference{Config: "main", Path: "a/b", Key: "k", Fields: []string{"f"}}, `vault.secret(main:a/b.k.f)`},
		{"a default", Reference{Key: "a", Default: `"x)"`}, `vault.secret(a, "x)")`},
		{"all at once", Reference{Secret: "s", Key: "k", Fields: []string{"f"}, Default: `{"a":[1,null]}`}, `vault.secret(s.k.f, {"a":[1,null]})`},
		{"a key with a slash", Reference{Key: "a/b-c_D9"}, `vault.secret(a/b-c_D9)`},
		{"a key with a dot is quoted", Reference{Key: "a.b"}, `vault.secret("a.b")`},
		{"a secret's key", Reference{Secret: "oracle", Key: "user"}, `vault.secret(oracle.user)`},
		{
			"config, path and key", Reference{Config: "main", Path: "data/oracle", Key: "user"},
			`vault.secret(main:data/oracle.user)`,
		},
		{"only what needs quotes gets them", Reference{Config: "main", Path: "data/my.app", Key: "a.b"},
			`vault.secret(main:"data/my.app"."a.b")`},
		{"quotes and backslashes are escaped", Reference{Key: `a"b\c`}, `vault.secret("a\"b\\c")`},
		{"HTML is not escaped", Reference{Key: "<a&b>"}, `vault.secret("<a&b>")`},
		{"control characters are escaped", Reference{Key: "a\x00\nb"}, `vault.secret("a\u0000\nb")`},
		{"letters beyond ASCII are quoted", Reference{Key: "schlüssel"}, `vault.secret("schlüssel")`},
		{"blanks are quoted", Reference{Secret: "s", Key: " "}, `vault.secret(s." ")`},
		{"parentheses are quoted", Reference{Key: ")"}, `vault.secret(")")`},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(row.reference.String()).To(Equal(row.source))
			text, err := Parse(row.source)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(text.References()).To(Equal([]Reference{row.reference}))
		})
	}
}

func TestReferenceMayHoldBlanksAroundItsParts(t *testing.T) {
	for _, row := range []struct {
		source    string
		reference Reference
	}{
		{"vault.secret( password\t)", Reference{Key: "password"}},
		{"vault.secret( oracle . user )", Reference{Secret: "oracle", Key: "user"}},
		{`vault.secret( s . k . 0 ,  { "a" : 1 }  )`, Reference{Secret: "s", Key: "k", Fields: []string{"0"}, Default: `{"a":1}`}},
		{`vault.secret( s . * )`, Reference{Secret: "s", Whole: true}},
		{`vault.secret( main : "data/a" . user )`, Reference{Config: "main", Path: "data/a", Key: "user"}},
	} {
		t.Run(row.source, func(t *testing.T) {
			text, err := Parse(row.source)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			NewWithT(t).Expect(text.References()).To(Equal([]Reference{row.reference}))
		})
	}
}
