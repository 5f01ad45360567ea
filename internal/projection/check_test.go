package projection

import (
	"context"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// outline is a value whose secrets are not known.
func outline() map[string]any {
	return map[string]any{
		"secret": Unknown{}, "host": "h", "none": nil, "hosts": []any{"a", Unknown{}},
		"options": map[string]any{"known": "x", "secret": Unknown{}},
	}
}

func check(files ...v1alpha1.ConnectionFile) error {
	layout, err := NewLayout(chosen(files...), sortedKeys(outline()))
	if err != nil {
		return err
	}
	return layout.Check(context.Background(), outline(), map[string]any{"text": Unknown{}}, false)
}

func TestWhatIsWrongWhateverVaultHoldsIsFoundByACheck(t *testing.T) {
	for source, sentence := range map[string]string{
		"a\n{{ .usr }}":                                                    "line 2: .usr: there is no such key",
		"{{ .secret }}{{ .options.nope }}":                                 "line 1: .options.nope: there is no such key",
		"{{ range .hosts }}{{ . }}{{ $.nope }}{{ end }}":                   "line 1: $.nope: there is no such key",
		"{{ range .host }}{{ end }}":                                       "line 1: .host: range needs a list, an object or an integer",
		"{{ replace .secret }}":                                            "line 1: replace: the function takes another number of arguments",
		"{{ if .host }}{{ upper .secret }}{{ int .host }}{{ end }}":        "line 1: int .host: this is not an integer",
		"{{ with .options }}{{ .known }}{{ .nope }}{{ end }}":              "line 1: .nope: there is no such key",
		"{{ index .hosts 2 }}":                                             "line 1: index .hosts 2",
		"{{ range 9999999999 }}{{ end }}":                                  "line 1: the templates of this Connection do too much work",
		"{{ fromJson .host }}":                                             "line 1: fromJson .host: this is not JSON",
		strings.Repeat("{{ if 1 }}", 65) + strings.Repeat("{{ end }}", 65): "line 1: more than 64 actions",
	} {
		err := check(v1alpha1.ConnectionFile{Path: "f", Template: source})
		NewWithT(t).Expect(err).To(MatchError(HavePrefix(`file "f": `+sentence)), source)
		NewWithT(t).Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal), source)
	}
	err := check(v1alpha1.ConnectionFile{Path: "f", Template: "{{ .host }}", Encoding: v1alpha1.FileEncodingBase64})
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("is not base64")))
}

// Each of these fails for some values and not for others.
func TestACheckSaysNothingOfWhatDependsOnAValue(t *testing.T) {
	for _, source := range []string{
		"{{ .secret }}", "{{ .secret.x }}", "{{ index .secret 0 }}", "{{ index .hosts .secret }}", "{{ fromJson .secret }}",
		"{{ if eq .secret \"a\" }}{{ .nope }}{{ end }}", "{{ if hasPrefix \"a\" .secret }}{{ else }}{{ .nope }}{{ end }}",
		"{{ with .secret }}{{ .nope }}{{ else }}{{ .nope }}{{ end }}", "{{ range .secret }}{{ $.nope }}{{ end }}",
		"{{ if and .secret .options.nope }}{{ end }}", "{{ if .secret | or .nope }}{{ end }}", "{{ and .host (not .secret) .nope }}",
		"{{ int .secret }}", "{{ len .secret }}", "{{ range len .secret }}\n{{ end }}{{ .nope }}", "{{ b64dec .secret }}",
		"{{ sqlQuote .secret }}", "{{ shellQuote .secret }}", "{{ xmlEscape .secret }}", "{{ printf \"%d\" .secret }}",
		"{{ join \",\" .secret }}", "{{ join .secret .hosts }}", "{{ keys .secret }}", "{{ hasKey .secret \"a\" }}",
		"{{ hasKey .options .secret }}", "{{ default .secret .none }}",
		"{{ date .secret 0 }}", "{{ date \"2006\" .secret }}", "{{ indent .secret .host }}", "{{ indent 1 .secret }}",
		"{{ lt .secret 1 }}", "{{ eq .hosts .hosts }}", "{{ toJson . }}{{ toYaml . }}", "{{ $x := .secret }}{{ $x.y }}",
		"{{ range .hosts }}{{ if eq . \"a\" }}{{ else }}{{ int . }}{{ end }}{{ end }}", "{{ (fromJson .secret).a }}",
		"{{ splitList .secret .host | len | add .secret }}", "{{ replace .secret .host .host }}", "{{ text .secret | upper }}",
		"{{ print .secret .host }}",
	} {
		NewWithT(t).Expect(check(v1alpha1.ConnectionFile{Path: "f", Template: source})).To(Succeed(), source)
	}
	for _, format := range []v1alpha1.FileFormat{"JSON", "YAML", "Env", "DockerEnv", "Properties"} {
		NewWithT(t).Expect(check(v1alpha1.ConnectionFile{Path: "f", Format: format})).To(Succeed())
	}
	for _, file := range []v1alpha1.ConnectionFile{
		{Path: "text", Value: "vault.secret(x)", Encoding: v1alpha1.FileEncodingBase64},
		{Path: "f", Template: "{{ .secret }}?", Encoding: v1alpha1.FileEncodingBase64},
	} {
		NewWithT(t).Expect(check(file)).To(Succeed())
	}
	layout, err := NewLayout(&v1alpha1.ConnectionSpec{Type: "guess"}, []string{"type"})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(layout.Check(context.Background(), map[string]any{"type": Unknown{}}, nil, false)).
		To(Succeed(), "whether the secret is the type would be a guess at it")
}
