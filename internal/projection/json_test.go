package projection

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/race"
)

// allocated is how many bytes a function takes from the heap, those that it gives back at once among them.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// emptyLists is a value of many small parts: 600 kB of text.
func emptyLists() map[string]any {
	lists := make([]any, 100_000)
	for i := range lists {
		lists[i] = []any{}
	}
	return map[string]any{"z": lists}
}

func TestWholeValuesAreWrittenWithoutCopies(t *testing.T) {
	race.SkipMeasurement(t)
	value := emptyLists()
	for format, most := range map[v1alpha1.FileFormat]uint64{
		// The text of YAML has 600 kB, that of JSON 300; a buffer grows by doubling, and hands out what it has.
		v1alpha1.FileFormatYAML: 4 << 20,
		v1alpha1.FileFormatJSON: 4 << 20,
	} {
		t.Run(string(format), func(t *testing.T) {
			g := NewWithT(t)
			took := allocated(func() {
				_, err := writeFormat(format, value)
				g.Expect(err).NotTo(HaveOccurred())
			})
			g.Expect(took).To(BeNumerically("<", most))
		})
	}
}

func TestLongStringsAreTheSameAsShortOnes(t *testing.T) {
	for _, part := range []string{"a", "ü", "€", "😀", "\x01", "\xff", "\x80", "a€\xe2"} {
		for shift := range 4 {
			g := NewWithT(t)
			text := strings.Repeat("x", shift) + strings.Repeat(part, 2*chunk)
			var expected bytes.Buffer
			encoder := json.NewEncoder(&expected)
			encoder.SetEscapeHTML(false)
			g.Expect(encoder.Encode(text)).To(Succeed())
			written, err := compactJSON(text)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(written)+"\n").To(Equal(expected.String()), "%q, shift %d", part, shift)
		}
	}
}

func TestMoreThanAVolumeHoldsIsNotWritten(t *testing.T) {
	race.SkipMeasurement(t)
	// Each fits as it is, and is more than a volume holds with its escapes.
	controls := strings.Repeat("\x01", MaxContentBytes*2/3)
	for name, value := range map[string]any{
		"a string": controls, "strings": []any{controls, controls}, "a key": map[string]any{controls: true},
		"many parts": []any{emptyLists(), emptyLists(), emptyLists(), emptyLists()},
	} {
		for format := range fileFormats {
			t.Run(name+" as "+string(format), func(t *testing.T) {
				g := NewWithT(t)
				took := allocated(func() {
					_, err := writeFormat(format, map[string]any{"k": value})
					if fault.Is(err, v1alpha1.ReasonNotRepresentable) {
						return // no format of lines holds control characters
					}
					if err != nil {
						g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue(), "%v", err)
					}
				})
				g.Expect(took).To(BeNumerically("<", 16<<20))
			})
		}
	}
}

// madeAs is a file whose template has to make JSON.
func madeAs(template string) v1alpha1.ConnectionFile {
	return v1alpha1.ConnectionFile{Path: "app.json", Format: v1alpha1.FileFormatJSON, Template: template}
}

// made is what the template makes of a value.
func made(template string, v any) (string, error) {
	layout, err := NewLayout(chosen(madeAs(template)), []string{"v"})
	if err != nil {
		return "", err
	}
	files, err := layout.Files(context.Background(), map[string]any{"v": v}, nil, nil)
	if err != nil {
		return "", err
	}
	return string(files[0].Content), nil
}

func TestATemplateThatHasToMakeJSONMakesNothingElse(t *testing.T) {
	g := NewWithT(t)
	const right, wrong = "{\n  \"v\": {{ toJson .v }} }\n", "{\n  \"v\": \"{{ .v }}\" }\n"
	g.Expect(made(right, "a\"b\n")).To(Equal("{\n  \"v\": \"a\\\"b\\n\" }\n"), "as the template made it")
	g.Expect(made(wrong, "plain")).To(Equal("{\n  \"v\": \"plain\" }\n"))
	var said []string
	for _, value := range []string{"a\"b", "\n\n\nlonger than the other", `\`} {
		_, err := made(wrong, value)
		g.Expect(fault.Is(err, v1alpha1.ReasonNotRepresentable)).To(BeTrue(), "%v", err)
		g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting), "another secret may cure it")
		said = append(said, err.Error())
	}
	g.Expect(said).To(HaveEach(`file "app.json": what the template makes is no JSON; have toJson write each value, quotes included: `+
		`"password": {{ toJson .password }}`), "nothing of the value, nor where it stands")
	_, err := made(`"{{ .v }}"`, "\xff")
	g.Expect(err).To(MatchError(ContainSubstring("is not text in UTF-8")))
}

func TestACheckSaysWhatNoValueMakesJSON(t *testing.T) {
	const line, all = "line %d of what the template makes is no JSON, whatever the values are", "what the template makes is no JSON"
	for template, sentence := range map[string]string{
		`{ host: "{{ .secret }}" }`:                        fmt.Sprintf(line, 1),
		"{\n  'a': {{ toJson .secret }}\n}":                fmt.Sprintf(line, 2),
		"{\n  \"a\": {{ .host }},\n  {{ .secret }}\n}":     fmt.Sprintf(line, 2),
		"{\n  \"a\": {{ toJson .host }},\n}":               fmt.Sprintf(line, 3),
		"{}\n\nx{{ .secret }}":                             fmt.Sprintf(line, 3),
		"{}\n[{{ .secret }}":                               fmt.Sprintf(line, 2),
		`{"a": {{ toJson .host }}`:                         all,
		"{{/* nothing */}}":                                all,
		"{{ range .hosts }}\n,{{ . }}{{ break }}{{ end }}": fmt.Sprintf(line, 2),
	} {
		err := check(madeAs(template))
		NewWithT(t).Expect(err).To(MatchError(HavePrefix(`file "app.json": `+sentence+"; ")), template)
		NewWithT(t).Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal), template)
	}
	for _, template := range []string{ // for some values, at least
		`{"a": "{{ .secret }}"}`, `{"a": {{ .secret }}`, "{{ .secret }}", "1{{ .secret }}", `"{{ .secret }}`, "tru{{ .secret }}",
		"{{ if .secret }}x{{ end }}", "x{{ if .secret }}y{{ end }}", "[{{ toJson .host }}{{ .secret }}", " {{ toJson .host }}\n{{ .secret }}",
		`{"a": {{ toJson .secret }},}`, `{"a": {{ toJson .host }}, "b": {{ toJson .hosts }}}`, `{"a": {{ toJson .host }}}`, "-{{ .secret }}",
	} {
		NewWithT(t).Expect(check(madeAs(template))).To(Succeed(), template)
	}
}
