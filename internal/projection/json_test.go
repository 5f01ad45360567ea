package projection

import (
	"bytes"
	"encoding/json"
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
