package projection

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/docker/cli/pkg/kvfile"
	"github.com/magiconair/properties"
	yaml "go.yaml.in/yaml/v3"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Each writer either refuses a text or writes what its parser reads as the same text. `go test` runs the seeds; `make
// fuzz` goes on from there.

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{
		"", "{{ .a }}", "{{ range .l }}{{ . }}{{ end }}", "{{ range $k, $v := . }}{{ $k | quote }}{{ end }}", "{{ printf \"%q\" .a }}", "{{",
		"{{ index .o \"k\" | toYaml | nindent 4 }}", "{{ define \"a\" }}{{ end }}", "{{ template \"t\" }}",
		"{{ range 1000000000 }}{{ end }}",
		"{{ if eq .a \"x\" 1 }}{{ else with .o }}{{ .k }}{{ end }}", "{{ $x := .a }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}", "{{ (.o).k }}",
		"{{ break }}", "{{ \"\xff\" \"\n\" }}", "{{ 1i }}", "{{ nil }}", "{{ . | . }}", "{{ .a.b.c }}", "{{ and }}",
		"{{ len 3 }}", "{{ date .a .a }}", "{{ add 9223372036854775807 1 }}",
	} {
		f.Add(seed)
	}
	const canary = "correct-horse"
	f.Fuzz(func(t *testing.T, source string) {
		value := map[string]any{
			"a": canary, "l": []any{"1", canary}, "o": map[string]any{"k": canary}, "n": nil, canary: true,
		}
		text, err := render(source, value)
		if err == nil {
			if again, failure := render(source, value); failure != nil || again != text {
				t.Fatalf("the same template made %q and %q", text, again)
			}
			return
		}
		requireFault(t, err, v1alpha1.ReasonInvalidTemplate, v1alpha1.ReasonTooLarge)
		if strings.Contains(err.Error(), canary) && !strings.Contains(source, canary) {
			t.Fatalf("a value stands in %v", err)
		}
	})
}

func requireFault(t *testing.T, err error, reasons ...string) {
	t.Helper()
	var known *fault.Fault
	if !errors.As(err, &known) || len(known.Message()) > 1000 || !utf8.ValidString(known.Message()) ||
		strings.Contains(known.Message(), "\n") {
		t.Fatalf("not a sentence: %v", err)
	}
	if !slices.Contains(reasons, known.Reason) {
		t.Fatalf("not of %v: %v", reasons, err)
	}
}

// fuzzTexts adds seeds for the writers.
func fuzzTexts(f *testing.F) {
	f.Helper()
	for _, text := range append(withLines(), "\x00", "\xff") {
		f.Add("KEY", text)
		f.Add(text, "value")
	}
}

func FuzzEnv(f *testing.F) {
	fuzzTexts(f)
	f.Fuzz(func(t *testing.T, key, text string) {
		content, err := writeFormat(v1alpha1.FileFormatEnv, map[string]any{key: text})
		if err != nil {
			requireFault(t, err, v1alpha1.ReasonNotRepresentable)
			return
		}
		word, found := strings.CutPrefix(strings.TrimSuffix(string(content), "\n"), key+"=")
		if read, ok := readWord(word); !found || !ok || read != text {
			t.Fatalf("%q became %q, which reads as %q", text, content, read)
		}
	})
}

// readWord reads what a POSIX shell would (IEEE Std 1003.1, 2.2 Quoting): too many shells would have to be started for
// a fuzzer. The seeds are read by a real one, too.
func readWord(word string) (string, bool) {
	switch {
	case strings.HasPrefix(word, "'"):
		inner := strings.TrimSuffix(word[1:], "'")
		return inner, len(word) >= 2 && len(inner) == len(word)-2 && !strings.Contains(inner, "'")
	case strings.HasPrefix(word, `"`):
		return readDoubleQuoted(word[1:])
	}
	return word, !strings.ContainsAny(word, " \t\n'\"\\$`|&;<>()*?[]#~!{}\r")
}

func readDoubleQuoted(rest string) (string, bool) {
	var text strings.Builder
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			return text.String(), i == len(rest)-1
		case c == '$', c == '`':
			return "", false
		case c == '\\' && i+1 < len(rest) && strings.IndexByte("$`\"\\\n", rest[i+1]) >= 0:
			i++
			if rest[i] != '\n' {
				text.WriteByte(rest[i])
			}
		default:
			text.WriteByte(c)
		}
	}
	return "", false
}

func FuzzDockerEnv(f *testing.F) {
	fuzzTexts(f)
	f.Fuzz(func(t *testing.T, key, text string) {
		content, err := writeFormat(v1alpha1.FileFormatDockerEnv, map[string]any{key: text})
		if err != nil {
			requireFault(t, err, v1alpha1.ReasonNotRepresentable)
			return
		}
		entries, err := kvfile.ParseFromReader(strings.NewReader(string(content)), nil)
		if err != nil || len(entries) != 1 || entries[0] != key+"="+text {
			t.Fatalf("%q became %q, which reads as %q, %v", text, content, entries, err)
		}
	})
}

func FuzzProperties(f *testing.F) {
	fuzzTexts(f)
	f.Fuzz(func(t *testing.T, key, text string) {
		content, err := writeFormat(v1alpha1.FileFormatProperties, map[string]any{key: text})
		if err != nil {
			requireFault(t, err, v1alpha1.ReasonNotRepresentable)
			return
		}
		if key == "" || strings.ContainsFunc(key+text, func(r rune) bool { return r > 0xffff }) {
			return // what this parser does not know, and Java's does
		}
		loader := properties.Loader{Encoding: properties.ISO_8859_1, DisableExpansion: true}
		read, err := loader.LoadBytes(content)
		if err != nil {
			t.Fatalf("%q became %q: %v", text, content, err)
		}
		if found, ok := read.Get(key); !ok || found != text || read.Len() != 1 {
			t.Fatalf("%q=%q became %q, which reads as %q", key, text, content, read.Map())
		}
	})
}

func FuzzYAML(f *testing.F) {
	fuzzTexts(f)
	f.Fuzz(func(t *testing.T, key, text string) {
		content, err := writeFormat(v1alpha1.FileFormatYAML, map[string]any{key: map[string]any{text: []any{text}}})
		if err != nil {
			requireFault(t, err, v1alpha1.ReasonNotRepresentable, v1alpha1.ReasonTooLarge)
			return
		}
		var read map[string]map[string][]string
		err = yaml.Unmarshal(content, &read)
		if err != nil || len(read[key][text]) != 1 || read[key][text][0] != text {
			t.Fatalf("%q: %q became %q, %v", key, text, content, err)
		}
	})
}
