package projection

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	yaml "go.yaml.in/yaml/v3"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func render(source string, value map[string]any) (string, error) {
	parsed, err := parseTemplate(source, &workBudget{left: maxWork})
	if err != nil {
		return "", err
	}
	if _, err := templateValue(value); err != nil {
		return "", err
	}
	content, err := parsed.execute(value)
	return string(content), err
}

func templateSample() map[string]any {
	return map[string]any{
		"user": "scott", "password": `a"b'c$d\e <&>`, "port": json.Number("1521"), "ratio": json.Number("1.50"),
		"tls": true, "none": nil, "empty": "",
		"hosts":   []any{"a", "b"},
		"options": map[string]any{"z": json.Number("1"), "a.b": "dotted", "list": []any{json.Number("1"), nil, "<"}},
		"until":   "2026-01-02T03:04:05.678+01:00", "json": `{"a":[1,2.50]}`, "String": "no method",
	}
}

func TestTemplatesPrintWhatTheValueHolds(t *testing.T) {
	for source, expected := range map[string]string{
		"":             "",
		"plain\n":      "plain\n",
		"{{/* c */}}x": "x",
		"{{ .user }}@{{ .port }}/{{ .ratio }} {{ .tls }} {{ .none }}":                                                      "scott@1521/1.50 true ",
		"{{ .hosts }} {{ .options }}":                                                                                      `["a","b"] {"a.b":"dotted","list":[1,null,"<"],"z":1}`,
		"{{ .String }} {{ index . \"String\" }}":                                                                           "no method no method",
		`{{ index .options "a.b" }} {{ index .options "list" 0 }} {{ index .hosts 1 }}`:                                    "dotted 1 b",
		"{{ range .hosts }}[{{ . }}]{{ end }}":                                                                             "[a][b]",
		"{{ range $k, $v := .options }}{{ $k }},{{ end }}":                                                                 "a.b,list,z,",
		"{{ range $i, $h := .hosts }}{{ if $i }},{{ end }}{{ $h }}{{ end }}":                                               "a,b",
		"{{ range 3 }}{{ . }}{{ end }}{{ range .empty | splitList \",\" }}{{ else }}none{{ end }}":                         "012",
		"{{ with .options }}{{ .z }}{{ end }}{{ $x := .user }}{{ $x = print $x 1 }}{{ $x }}":                               "1scott1",
		"{{ if and .tls (eq .port 1521) (not .none) }}yes{{ end }}":                                                        "yes",
		`{{ if eq .user "x" "scott" }}1{{ end }}{{ if ne .port 1 }}2{{ end }}{{ if eq "1521" .port }}3{{ end }}`:           "12",
		`{{ lt 9 10 }} {{ lt "9" "10" }} {{ ge .port 1521 }} {{ le 1 0 }} {{ gt 2 1 }}`:                                    "true false true false true",
		"{{ add .port 1 }} {{ sub 1 2 }} {{ len .hosts }} {{ int \"007\" }}":                                               "1522 -1 2 7",
		`{{ .user | upper }}{{ lower "AB" }}{{ trim " x " }}{{ trimPrefix "sc" .user }}{{ trimSuffix "tt" .user }}`:        "SCOTTabxottsco",
		`{{ contains "co" .user }}{{ hasPrefix "s" .user }}{{ hasSuffix "s" .user }}`:                                      "truetruefalse",
		`{{ replace "t" "--" .user }} {{ join ";" .hosts }} {{ join "," (splitList "o" .user) }}`:                          "sco---- a;b sc,tt",
		"a:{{ nindent 2 \"x\\ny\" }}|{{ indent 1 \"z\" }}":                                                                 "a:\n  x\n  y| z",
		`{{ default "d" .empty }}{{ default "d" .user }}{{ hasKey . "nope" }}{{ hasKey .options "z" }}{{ keys .options }}`: `dscottfalsetrue["a.b","list","z"]`,
		`{{ date "2006-01-02 15:04:05 MST" .until }} {{ date "2006" 0 }} {{ date "02.01." "86400" }}`:                      "2026-01-02 02:04:05 UTC 1970 02.01.",
		`{{ b64enc .user }} {{ b64dec "AAH/" }}`:                                                                           "c2NvdHQ= \x00\x01\xff",
		`{{ printf "%s:%d/%v %q 100%%" .user .port .hosts "ü\"" }}`:                                                        `scott:1521/["a","b"] "ü\"" 100%`,
		`{{ toJson .options }} {{ (fromJson .json).a }} {{ toJson "<" }}`:                                                  `{"a.b":"dotted","list":[1,null,"<"],"z":1} [1,2.50] "<"`,
		"{{ toYaml .options }}": "\"a.b\": \"dotted\"\nlist:\n  - 1\n  - null\n  - \"<\"\nz: 1",
		"{{- range .hosts }}{{ if eq . \"b\" }}{{ break }}{{ end }}{{ . }}{{ continue }}never{{ end -}}": "a",
		`{{ properties " a=b ü" }} {{ 1.5 }} {{ 'a' }}`:                                                  `\ a\=b \u00FC 1.5 97`,
	} {
		text, err := render(source, templateSample())
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), source)
		NewWithT(t).Expect(text).To(Equal(expected), source)
	}
}

func TestQuotingFunctionsAreReadByTheirLanguages(t *testing.T) {
	for _, text := range append(withLines(), "\ufeff", "\x7f\u0085") {
		g := NewWithT(t)
		value := map[string]any{"v": text}
		quoted, err := render("{{ .v | quote }}", value)
		g.Expect(err).NotTo(HaveOccurred())
		var found string
		g.Expect(json.Unmarshal([]byte(quoted), &found)).To(Succeed())
		g.Expect(found).To(Equal(text))
		g.Expect(yaml.Unmarshal([]byte(quoted), &found)).To(Succeed(), "%q", quoted)
		g.Expect(found).To(Equal(text))

		escaped, err := render("https://{{ urlEscape .v }}:{{ urlEscape .v }}@h/{{ urlEscape .v }}?q={{ urlEscape .v }}", value)
		g.Expect(err).NotTo(HaveOccurred())
		parsed, err := url.Parse(escaped)
		g.Expect(err).NotTo(HaveOccurred())
		password, _ := parsed.User.Password()
		g.Expect([]string{parsed.User.Username(), password, parsed.Path[1:], parsed.Query().Get("q")}).
			To(HaveEach(text))

		if !strings.ContainsAny(text, "\x01\f") {
			element, err := render(`<a b="{{ xmlEscape .v }}"></a>`, value)
			g.Expect(err).NotTo(HaveOccurred())
			var a struct {
				B string `xml:"b,attr"`
			}
			g.Expect(xml.Unmarshal([]byte(element), &a)).To(Succeed())
			g.Expect(a.B).To(Equal(text))
		}
	}
	value := values(withLines()...)
	var script strings.Builder
	for _, key := range sortedKeys(value) {
		word, err := render("{{ shellQuote .v }}", map[string]any{"v": value[key]})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		script.WriteString(key + "=" + word + "\n")
	}
	NewWithT(t).Expect(shell(t, "sh", []byte(script.String()), sortedKeys(value))).To(Equal(value))
	NewWithT(t).Expect(render("{{ sqlQuote .v }}", map[string]any{"v": `it's; DROP "x" -- ü`})).
		To(Equal(`'it''s; DROP "x" -- ü'`))
}

func TestTemplateErrorsHaveTheLineAndNoValue(t *testing.T) {
	const canary = "correct-horse"
	for _, row := range []struct{ name, source, sentence string }{
		{"a missing key", "a\nb {{ .usr }}", "line 2: .usr: there is no such key"},
		{"a missing key below another", "{{ .options.x }}", "line 1: .options.x: there is no such key"},
		{"a key of what is no object", "{{ .secret.x }}", "line 1: .secret.x: there is no such key, for what should hold it is not an object"},
		{"a key of null", "{{ .none.x }}", "line 1: .none.x: there is no such key, for what should hold it is not an object"},
		{"a missing key by index", "\n\n{{ index . \"x\" }}", `line 3: index . "x": there is no such key`},
		{"an item that is not there", "{{ index .list 1 }}", "line 1: index .list 1: the list has 1 items"},
		{"a negative item", "{{ index .list -1 }}", "line 1: index .list -1: the list has 1 items"},
		{"range over a string", "{{ range .secret }}{{ end }}", "line 1: .secret: range needs a list, an object or an integer"},
		{"an integer that is none", "{{ int .secret }}", "line 1: int .secret: this is not an integer"},
		{"a number for a type", "{{ indent .secret .secret }}", "line 1: indent .secret .secret: this is not an integer"},
		{"too few arguments", "{{ replace .secret }}", "line 1: replace: the function takes another number of arguments"},
		{"a date that is none", "{{ date \"2006\" .secret }}", "line 1: date \"2006\" .secret: this is neither a time"},
		{"base64 that is none", "{{ b64dec .secret }}", "line 1: b64dec .secret: this is not base64"},
		{"JSON that is none", "{{ fromJson .secret }}", "line 1: fromJson .secret: this is not JSON"},
		{"a width", "{{ printf \"%9999999d\" 1 }}", `line 1: printf "%9999999d" 1: printf knows %s, %v, %d, %q and %%, without widths`},
		{"two kinds compared", "{{ lt .secret 1 }}", "line 1: lt .secret 1: only two strings or two integers can be compared"},
		{"a backslash in SQL", "{{ sqlQuote .backslash }}", "line 1: sqlQuote .backslash: sqlQuote refuses backslashes"},
		{"what XML cannot hold", "{{ xmlEscape .nul }}", "line 1: xmlEscape .nul: xmlEscape needs text"},
		{"what a shell cannot hold", "{{ shellQuote .nul }}", "line 1: shellQuote .nul: shellQuote needs text"},
		{"a value called", "{{ .secret 1 }}", "line 1: .secret: this cannot be evaluated"},
		{"join of a string", "{{ join \",\" .secret }}", "line 1: join \",\" .secret: join needs a list"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := render(row.source, map[string]any{
				"secret": canary, "options": map[string]any{canary: canary}, "none": nil, "list": []any{canary},
				"backslash": canary + `\`, "nul": canary + "\x00",
			})
			g.Expect(err).To(MatchError(HavePrefix(row.sentence)))
			g.Expect(err.Error()).NotTo(ContainSubstring(canary))
			g.Expect(fault.Is(err, v1alpha1.ReasonInvalidTemplate)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting))
		})
	}
}

func TestTemplatesThatCannotBeParsedSayWhere(t *testing.T) {
	for _, row := range []struct{ name, source, sentence string }{
		{"an unknown function", "a\nb\n{{ env \"HOME\" }}", `line 3: function "env" not defined; the reference of Connections lists the functions`},
		{"a function for random texts", "{{ randAlphaNum 3 }}", `line 1: function "randAlphaNum" not defined`},
		{"now", "{{ now }}", `line 1: function "now" not defined`},
		{"a builtin that is not offered", "\n{{ if (html .a) }}{{ end }}", `line 2: function "html" is not offered`},
		{"call", "{{ call .a }}", `line 1: function "call" is not offered`},
		{"our own", "{{ _c 1 }}", `line 1: function "_c" is not offered`},
		{"another template", "{{ define \"a\" }}{{ template \"a\" }}{{ end }}x", "line 1: it defines another template; one file is one template"},
		{"nothing but another template", "{{ define \"a\" }}{{ end }}", "line 1: it defines another template"},
		{"itself", "x\n{{ template \"t\" . }}", "line 2: it calls another template"},
		{"no end", "{{ if .a }}", "line 1: unexpected EOF"},
		{"no closing", "{{ .a", "line 1: unclosed action"},
		{"a key that needs index", "\n{{ .db-password }}", `line 2: bad character U+002D '-'; a key with other characters than letters, digits and "_" needs index`},
		{"a bad character", "{{ .a\x00 }}", "line 1: "},
		{"a variable that is not there", "{{ $x }}", `line 1: undefined variable "$x"`},
		{"much of it", "{{ \"" + strings.Repeat("x", 10_000), "line 1: unterminated quoted string"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := render(row.source, map[string]any{"a": "x"})
			g.Expect(err).To(MatchError(HavePrefix(row.sentence)))
			g.Expect(len(err.Error())).To(BeNumerically("<", 300))
			g.Expect(fault.Is(err, v1alpha1.ReasonInvalidTemplate)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
		})
	}
}

// Each of these would run for minutes, or fill the memory, if it could.
func TestTemplatesCannotUseUpTimeOrMemory(t *testing.T) {
	large := strings.Repeat("x", 512<<10)
	value := map[string]any{"large": large, "count": json.Number("9223372036854775807"), "items": make([]any, 10_000)}
	for name, source := range map[string]string{
		"a loop without an end":          "{{ range 9223372036854775807 }}{{ end }}",
		"one that a secret names":        "{{ range .count }}{{ end }}",
		"one that prints":                "{{ range .count }}x{{ end }}",
		"loops in loops":                 strings.Repeat("{{ range $.items }}", 5) + strings.Repeat("{{ end }}", 5),
		"a text that doubles":            "{{ $x := \"x\" }}{{ range 1000 }}{{ $x = print $x $x }}{{ end }}",
		"one that doubles by printf":     "{{ $x := \"x\" }}{{ range 1000 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
		"one that grows by replace":      "{{ $x := .large }}{{ range 1000 }}{{ $x = replace \"x\" .large $x }}{{ end }}",
		"one that grows by indent":       "{{ $x := replace \"x\" \"\\n\" .large }}{{ indent 100 $x }}",
		"one that grows by quotes":       "{{ $x := \"\\\"\" }}{{ range 1000 }}{{ $x = quote $x }}{{ end }}",
		"a large text again and again":   "{{ range 100000 }}{{ $x := upper $.large }}{{ end }}",
		"a large text compared":          "{{ range 100000 }}{{ if eq $.large (print $.large) }}{{ end }}{{ end }}",
		"a large object again and again": "{{ range 100000 }}{{ $x := toJson $ }}{{ end }}",
		"many parts":                     "{{ range 1000 }}{{ $x := splitList \"\" $.large }}{{ end }}",
		"an output without an end":       "{{ range 1000 }}{{ $.large }}{{ end }}",
		"JSON again and again":           "{{ range 1000 }}{{ $x := fromJson (toJson $.items) }}{{ end }}",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			took := worked(t)
			_, err := render(strings.ReplaceAll(source, " .large", " $.large"), value)
			g.Expect(err).To(MatchError(MatchRegexp(`do too much work|does too much work at once|more than 1048576 bytes`)))
			g.Expect(err.Error()).NotTo(ContainSubstring("xxx"))
			// Generous, for machines that are busy; it takes some milliseconds.
			g.Expect(took()).To(BeNumerically("<", 20*time.Second))
		})
	}
}

func TestTheTemplatesOfAConnectionShareOneBudget(t *testing.T) {
	g := NewWithT(t)
	spec := chosen()
	for i := range 20 {
		file := v1alpha1.ConnectionFile{Path: strconv.Itoa(i), Template: "{{ range 100000 }}{{ end }}"}
		spec.Files = append(spec.Files, file)
	}
	layout, err := NewLayout(spec, nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = layout.Files(context.Background(), nil, nil, nil)
	g.Expect(err).To(MatchError(ContainSubstring("do too much work")))
}

func TestATemplateDoesNotChangeTheValue(t *testing.T) {
	g := NewWithT(t)
	value := templateSample()
	written, err := compactJSON(value)
	g.Expect(err).NotTo(HaveOccurred())
	first, err := render("{{ toJson . }}{{ range .hosts }}{{ . }}{{ end }}", value)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(render("{{ toJson . }}{{ range .hosts }}{{ . }}{{ end }}", value)).To(Equal(first))
	g.Expect(compactJSON(value)).To(Equal(written))
}
