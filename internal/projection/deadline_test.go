package projection

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// expensive is a value with all that may take time.
func expensive() map[string]any {
	keys := map[string]any{}
	for i := range 20_000 {
		keys["k"+strconv.Itoa(i)] = json.Number("1")
	}
	deep := any("x")
	for range 2000 {
		deep = map[string]any{"k": deep}
	}
	return map[string]any{
		"m": keys, "l": make([]any, 100_000), "t": strings.Repeat("x\"\n", 100_000), "deep": deep,
		"j": "[" + strings.Repeat("{},", 50_000) + "{}]", "n": json.Number("1.5"), "i": json.Number("7"),
	}
}

// late returns how long after the deadline the template ended.
func late(t *testing.T, source string, deadline time.Duration) time.Duration {
	t.Helper()
	layout, err := NewLayout(chosen(v1alpha1.ConnectionFile{Path: "f", Template: source}), nil)
	if err != nil {
		return 0 // refused before it ran
	}
	value := expensive()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	took := worked(t)
	_, err = layout.Files(ctx, value, nil, nil)
	over := took() - deadline
	if err != nil && fault.From(err).Class == fault.ClassTransient && ctx.Err() == nil {
		t.Errorf("%s: %v", source, err)
	}
	return over
}

// worked returns what says how long the process has worked since: its time on processors, or the time that passed, if
// that is less. A machine that stands still does neither.
func worked(t *testing.T) func() time.Duration {
	t.Helper()
	processors := func() time.Duration {
		var usage syscall.Rusage
		NewWithT(t).Expect(syscall.Getrusage(syscall.RUSAGE_SELF, &usage)).To(Succeed())
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	began, used := time.Now(), processors()
	return func() time.Duration { return min(time.Since(began), processors()-used) }
}

// mostLate is generous for a busy machine; one step takes less than a tenth of it.
const mostLate = 2 * time.Second

// Each of these did work that was paid afterwards or never, or that nothing could interrupt.
func TestATemplateEndsWithItsRequest(t *testing.T) {
	variables := strings.Builder{}
	for i := range 3000 {
		fmt.Fprintf(&variables, "{{$v%d:=1}}", i)
	}
	for name, source := range map[string]string{
		"an object ranged over and left":  "{{range 140000}}{{range $.m}}{{break}}{{end}}{{end}}",
		"an object that is printed":       "{{range 140000}}{{$x := print $.m}}{{end}}",
		"an object that is compared":      "{{range 140000}}{{if eq $.m $.m}}{{end}}{{end}}",
		"the keys of an object":           "{{range 140000}}{{$x := keys $.m}}{{end}}",
		"a long key that is looked for":   "{{range 10000000}}{{if hasKey $ $.t}}{{end}}{{end}}",
		"many steps into an object":       "{{range 10000000}}{{$x := $.deep" + strings.Repeat(".k", 1900) + "}}{{end}}",
		"many variables":                  variables.String() + "{{range 10000000}}{{if $v0}}{{end}}{{end}}",
		"a long number":                   "{{range 10000000}}{{if 1" + strings.Repeat("0", 300) + strings.Repeat("e0", 1) + "}}{{end}}{{end}}",
		"a long name":                     "{{range 10000000}}{{if false}}{{$." + strings.Repeat("a", 30_000) + "}}{{end}}{{end}}",
		"JSON that is parsed":             "{{range 140000}}{{$x := fromJson $.j}}{{end}}",
		"JSON and YAML that are written":  "{{range 140000}}{{$x := toYaml $.deep}}{{$y := toJson $.l}}{{end}}",
		"texts that are encoded":          "{{range 140000}}{{$x := quote $.t}}{{$y := urlEscape $.t}}{{$z := xmlEscape $.t}}{{end}}",
		"a text that is split and joined": "{{range 140000}}{{$x := join \"\" (splitList \"\" $.t)}}{{end}}",
		"methods of a number":             "{{range 10000000}}{{$x := $.n.Float64}}{{end}}",
		"a way out of nested loops":       strings.Repeat("{{range 1000}}", 20) + "{{continue}}" + strings.Repeat("{{end}}", 20),
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(late(t, source, 50*time.Millisecond)).To(BeNumerically("<", mostLate))
			took := worked(t)
			late(t, source, time.Minute) // ends by its budget
			NewWithT(t).Expect(took()).To(BeNumerically("<", 20*time.Second))
		})
	}
}

func TestAnEndedRequestIsNoFaultOfTheTemplate(t *testing.T) {
	g := NewWithT(t)
	layout, err := NewLayout(chosen(v1alpha1.ConnectionFile{Path: "f", Template: "{{ range 100000 }}{{ end }}"}), nil)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = layout.Files(ctx, nil, nil, nil)
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassTransient))
	_, err = layout.chosen[0].template.execute(map[string]any{})
	g.Expect(err).To(MatchError("the request ended before the templates did"))
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassTransient))
}

// Templates at random from the pieces of the language: none goes on for long after its deadline, and none that runs to
// its end does more than the budget's work.
func TestTemplatesAtRandomEndWithTheirRequest(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 8))
	values := []string{"$.m", "$.l", "$.t", "$.deep", "$.j", "$.n", "$.i", "$", ".", "$x", `"a"`, "3"}
	calls := []string{
		"print %s %s", "eq %s %s", "join %s %s", "splitList %s %s", "replace %s %s $.t", "toJson %s", "toYaml %s", "fromJson %s",
		"quote %s", "urlEscape %s", "xmlEscape %s", "keys %s", "len %s", "index %s %s", "hasKey %s %s", "upper %s", "indent 9 %s",
		"b64enc %s", "printf \"%%q%%s\" %s %s", "default %s %s", "and %s %s", "not %s", "contains %s %s", "properties %s", "text %s", "%s",
	}
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	expression := func() string {
		call := pick(calls)
		arguments := make([]any, strings.Count(strings.ReplaceAll(call, "%%", ""), "%s"))
		for i := range arguments {
			arguments[i] = pick(values)
		}
		return fmt.Sprintf(call, arguments...)
	}
	var body func(depth int) string
	body = func(depth int) string {
		if depth == 0 {
			return "{{$x = " + expression() + "}}"
		}
		switch random.IntN(5) {
		case 0:
			return "{{range 100000}}" + body(depth-1) + "{{end}}"
		case 1:
			return "{{range " + pick([]string{"$.m", "$.l", "$.deep", "$"}) + "}}" + body(depth-1) + "{{break}}{{end}}"
		case 2:
			return "{{with " + expression() + "}}" + body(depth-1) + "{{end}}"
		case 3:
			return "{{if " + expression() + "}}" + body(depth-1) + "{{else}}" + body(depth-1) + "{{end}}"
		}
		return body(depth-1) + body(depth-1)
	}
	for range 150 {
		source := "{{$x := 1}}{{range 1000000}}" + body(4) + "{{end}}"
		if over := late(t, source, 5*time.Millisecond); over > mostLate {
			t.Errorf("%s after its deadline: %s", over, source)
		}
	}
}
