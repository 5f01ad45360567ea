package expression

import (
	"context"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestParseTakesAsLiteralWhatIsNoCall(t *testing.T) {
	for _, s := range []string{
		"", " ", "xe", "vault", "vault.", "vault.secret", "vault.secret user", "vault.secret (user)", "vault.(x)",
		"vault.1(x)",
		"vault.secret.user(x)", "https://vault.example.com:8200", "Vault.secret(x)", "vault .secret(x)",
		"hashivault.read(x)",
		"größevault.read(x)", "_vault.read(x)", "$(vault.secret)", "..", "a\x00b", "line\nline", "{{ vault }}",
		"vault.vault.",
	} {
		t.Run(s, func(t *testing.T) {
			g := NewWithT(t)
			text, err := Parse(s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(text.References()).To(BeEmpty())
			g.Expect(text.Evaluate(context.Background(), nil)).To(Equal(s))
		})
	}
}

func TestParseFindsReferencesWhereverTheyStand(t *testing.T) {
	user, password := Reference{Key: "user"}, Reference{Secret: "s", Key: "password"}
	for _, s := range []string{
		"vault.secret(user)vault.secret(s.password)",
		"jdbc:oracle:thin:vault.secret(user)/vault.secret(s.password)@h",
		"app_vault.secret(user) vault.vault.secret(s.password)",
		"$vault.secret(user)\n\x00vault.secret(s.password)..",
		`vault.secret(user)vault.text("vault.secret(x)")vault.secret(s.password)`,
		`éxvault.read(vault.secret(user),vault.secret(s.password))`,
	} {
		t.Run(s, func(t *testing.T) {
			text, err := Parse(s)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			NewWithT(t).Expect(text.References()).To(Equal([]Reference{user, password}))
		})
	}
}

func TestParseSaysWhatIsWrongAndWhere(t *testing.T) {
	const rule = `; a part with other characters than letters, digits, "_", "-" and "/" stands in quotes`
	for _, row := range []struct{ name, source, sentence string }{
		{"no argument", `vault.secret()`, `column 14: expected a key, found ")" after "vault.secret("; write one: vault.secret(key)`},
		{"blank argument", `vault.secret( )`, `column 15: expected a key, found ")" after "vault.secret( "; write one: vault.secret(key)`},
		{"not closed", `vault.secret(user`, `column 18: expected ")", ",", "." or ":", found the end of the string after "vault.secret(user"`},
		{"nothing after the parenthesis", `a vault.secret(`, `column 16: expected a key, found the end of the string after "vault.secret("`},
		{"no key after the dot", `vault.secret(s.)`, `column 16: expected a key, found ")" after "vault.secret(s."; write one: vault.secret(s.key)`},
		{"no secret before the dot", `vault.secret(.k)`, `column 14: expected a key, found "." after "vault.secret("; write one: vault.secret(key.k)`},
		{"no path", `vault.secret(main:.k)`, `column 19: expected the path of a secret, found "." after "vault.secret(main:"; write one: vault.secret(main:path.k)`},
		{"no key after the path", `vault.secret(main:data/a)`,
			`column 25: expected "." and a key, found ")" after "vault.secret(main:data/a"; write one: vault.secret(main:data/a.key)`},
		{"garbage after a field", `vault.secret(a.b.c d)`, `column 20: expected ")", "," or ".", found "d" after "vault.secret(a.b.c "` + rule + `: vault.secret(a.b."c d")`},
		{"an empty field", `vault.secret(a.b.)`, `column 18: expected a field, found ")" after "vault.secret(a.b."; write one: vault.secret(a.b.field)`},
		{"all keys of no secret", `vault.secret( * )`, `column 15: which secret is meant, the expression does not say; ` +
			`give it a name in vaultSecrets, and write vault.secret(name.*)`},
		{"a field of all keys", `vault.secret(a.*.b)`, `column 17: expected ")" or ",", found "." after "vault.secret(a.*"; ` +
			`a key stands in place of the *, or all of the secret is meant: vault.secret(a.*)`},
		{"a default that is no JSON", `vault.secret(a.b, none)`, `column 19: the default is not JSON; text stands in double quotes: vault.secret(a.b, "none")`},
		{"no default", `vault.secret(a.b, )`, `column 19: the default is not JSON; write one, or leave out the comma: vault.secret(a.b)`},
		{"a default in single quotes", `vault.secret(a.b, 'x')`, `column 19: the default is not JSON; text stands in double quotes: vault.secret(a.b, "x")`},
		{"a default that is not closed", `vault.secret(a.b, {"a": [1}`,
			`column 19: the default is not JSON; close its quotes, lists and objects, and escape quotes in text`},
		{"a default at the end of a string", `vault.secret(a.b, none`, `column 19: the default is not JSON; text stands in double quotes`},
		{"two defaults", `vault.secret(a.b, 1, 2)`, `column 20: expected ")", found "," after "vault.secret(a.b, 1"; ` +
			`there is one default, and a list stands in brackets: vault.secret(a.b, [1,2])`},
		{"a default that is too deep", `vault.secret(a, ` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `)`,
			`column 17: the default has more than 64 lists and objects nested; write it to Vault, or nest it less`},
		{"a default that is too long", `vault.secret(a, "` + strings.Repeat("x", 4096) + `")`,
			`column 17: the default does not end within the 4096 bytes of an expression; ` +
				`close its quotes, lists and objects, or write to Vault what is so long`},
		{"garbage after the key", `vault.secret(a b)`, `column 16: expected ")", ",", "." or ":", found "b" after "vault.secret(a "` + rule + `: vault.secret("a b")`},
		{"garbage after quotes", `vault.secret("a"b)`, `column 17: expected ")", ",", "." or ":", found "b" after "vault.secret(\"a\""` + rule},
		{"a letter beyond ASCII", `vault.secret(größe)`, `column 16: expected ")", ",", "." or ":", found "ö" after "vault.secret(gr"` + rule + `: vault.secret("größe")`},
		{"a NUL", "vault.secret(a\x00)", `column 15: expected ")", ",", "." or ":", found "\x00" after "vault.secret(a"` + rule + `: vault.secret("a\u0000")`},
		{"a line break", "vault.secret(\na)", `column 14: expected a key, found "\n" after "vault.secret("` + rule + `: vault.secret(a)`},
		{"a nested reference", `vault.secret(vault.secret(x))`,
			`column 26: expected ")", "," or ".", found "(" after "vault.secret(vault.secret"; a reference holds no other one: name secret and key`},
		{"empty quotes", `vault.secret("")`, `column 14: expected a key, found empty quotes; write it between them`},
		{"empty quotes as path", `vault.secret(m:"".k)`, `column 16: expected the path of a secret, found empty quotes; write it between them`},
		{"quotes not closed", `vault.secret("a)`, `column 14: the quotes that open here are not closed`},
		{"quotes that end in a backslash", `vault.secret("a\`, `column 14: the quotes that open here are not closed`},
		{"a bad escape", `vault.secret("\x")`, `column 14: the text in quotes is not a JSON string: line breaks and control characters ` +
			`stand there as \n or \u0000, a backslash as \\`},
		{"columns count characters", `größe vault.secret()`, `column 20: expected a key, found ")" after "vault.secret("; write one: vault.secret(key)`},
		{"text without quotes", `vault.text(a)`,
			`column 12: expected text in double quotes, as in vault.text("a"), found "a" after "vault.text("`},
		{"text without anything", `vault.text()`,
			`column 12: expected text in double quotes, as in vault.text("…"), found ")" after "vault.text("`},
		{"text not closed", `vault.text("a"`, `column 15: expected ")", found the end of the string after "vault.text(\"a\""`},
		{"text with two arguments", `vault.text("a","b")`, `column 15: expected ")", found "," after "vault.text(\"a\""`},
		{"unknown function", `x vault.secert(user)`, `column 3: unknown function vault.secert; write vault.secret(user), or for ` +
			`literal text vault.text("vault.secert(user)")`},
		{"unknown function of other letters", `vault.sécret(user)`, `column 1: unknown function vault.sécret; write vault.secret(user), ` +
			`or for literal text vault.text("vault.sécret(user)")`},
		{"bytes that are no text", "a\xffb", `column 2: the string is not valid UTF-8`},
		{"the second expression", `vault.secret(user)/vault.secret()`, `column 33: expected a key, found ")" after "vault.secret("; write one: vault.secret(key)`},
		{"an unknown function of nothing", `vault.read()`, `column 1: unknown function vault.read; known are vault.secret and vault.text; ` +
			`for literal text write vault.text("…")`},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := Parse(row.source)
			g.Expect(err).To(MatchError(row.sentence))
			g.Expect(fault.Is(err, v1alpha1.ReasonInvalidExpression)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
		})
	}
}

// TestAReferenceThatIsOfferedCanBeCopied: whatever is wrong, what a remedy offers is a reference.
func TestAReferenceThatIsOfferedCanBeCopied(t *testing.T) {
	offers := regexp.MustCompile(`(?:one|comma|brackets|meant|quotes): (vault\.secret\(.*)$`)
	for source, offered := range map[string]string{
		"vault.secret(tls crt)": `vault.secret("tls crt")`, `vault.secret(db."x".a&b)`: `vault.secret(db.x."a&b")`,
		"vault.secret(main:kv/a b.user)": `vault.secret(main:"kv/a b".user)`, "vault.secret(a.b, yes)": `vault.secret(a.b, "yes")`,
		"vault.secret(a.b, 1, 2, 3)": "vault.secret(a.b, [1,2,3])", "vault.secret(....)": "", "vault.secret(::)": "", "vault.secret(a,b)": `vault.secret(a, "b")`,
	} {
		g := NewWithT(t)
		_, err := Parse(source)
		g.Expect(err).To(HaveOccurred(), source)
		found := offers.FindStringSubmatch(err.Error())
		if offered == "" {
			g.Expect(found).To(BeNil(), "%v", err)
			continue
		}
		g.Expect(found).To(HaveLen(2), "%v", err)
		g.Expect(found[1]).To(Equal(offered))
		_, err = Parse(found[1])
		g.Expect(err).NotTo(HaveOccurred(), found[1])
	}
}

func TestParseLimitsWhatItTakesAndWhatItSays(t *testing.T) {
	long := strings.Repeat("k", maxExpressionBytes)
	for _, row := range []struct{ name, source, sentence string }{
		{"a long expression", "vault.secret(" + long + ")", "the expression has 4110 bytes; at most 4096 are allowed"},
		{"a long expression with an error", "vault.secret(" + long + "!", "column 4110: expected"},
		{"a long unknown function", "vault." + long + "()", "unknown function vault.kkk"},
		{"a long expression that never ends", `vault.secret("` + long, "are not closed"},
		{"many references", strings.Repeat("vault.secret(a)", maxReferences+1), "column 15361: this is one reference too many"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Parse(row.source)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(row.sentence)))
			NewWithT(t).Expect(len(err.Error())).To(BeNumerically("<", 400))
		})
	}
	t.Run("vault.text may be long", func(t *testing.T) {
		text, err := Parse(`vault.text("` + long + `")`)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(text.Evaluate(context.Background(), nil)).To(Equal(long))
	})
}
