package projection

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// contents returns what is in the files by path.
func contents(files []File) map[string]string {
	byPath := make(map[string]string, len(files))
	for _, file := range files {
		byPath[file.Path] = string(file.Content)
	}
	return byPath
}

// project projects a value without files of the author's choice.
func project(connectionType string, value map[string]any) ([]File, error) {
	layout, err := NewLayout(&v1alpha1.ConnectionSpec{Type: connectionType}, sortedKeys(value))
	if err != nil {
		return nil, err
	}
	return layout.Files(context.Background(), value, nil, nil)
}

func TestFilesHoldWhatTheValueHas(t *testing.T) {
	for _, row := range []struct {
		name     string
		value    any
		expected string
	}{
		{"a string as it is", `a"<b>&ü` + "\x00\n", `a"<b>&ü` + "\x00\n"},
		{"a string that looks like an expression", "vault.secret(x)", "vault.secret(x)"},
		{"a string that is no text", "\xff\xfe", "\xff\xfe"},
		{"an empty string", "", ""},
		{"a number digit for digit", json.Number("1521.00"), "1521.00"},
		{"a large number digit for digit", json.Number("12345678901234567890.123e400"), "12345678901234567890.123e400"},
		{"a bool", true, "true"},
		{"null", nil, ""},
		{"a list", []any{"<", json.Number("1.0"), nil, []any{}}, `["<",1.0,null,[]]`},
		{
			"an object with its keys sorted", map[string]any{"b": map[string]any{}, "a": "&", "B": false},
			`{"B":false,"a":"&","b":{}}`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			files, err := project("SQLORACLE", map[string]any{"key": row.value})
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			NewWithT(t).Expect(contents(files)).To(Equal(map[string]string{"key": row.expected, "type": "SQLORACLE"}))
		})
	}
}

func TestFilesAreSortedByPath(t *testing.T) {
	g := NewWithT(t)
	files, err := project("t", map[string]any{"user": "u", "password": "p", "zone": "z", "A": "a", ".hidden": "h"})
	g.Expect(err).NotTo(HaveOccurred())
	paths := make([]string, 0, len(files))
	for _, file := range files {
		paths = append(paths, file.Path)
	}
	g.Expect(paths).To(Equal([]string{".hidden", "A", "password", "type", "user", "zone"}))
}

func TestFilesOfAnEmptyValueAreTheType(t *testing.T) {
	files, err := project("postgresql", nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(contents(files)).To(Equal(map[string]string{"type": "postgresql"}))
}

func TestFilesHaveOneType(t *testing.T) {
	const canary = "correct-horse"
	files, err := project("t", map[string]any{"type": "t"})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(contents(files)).To(Equal(map[string]string{"type": "t"}))

	for name, own := range map[string]any{
		"another string": canary, "no string": []any{canary}, "null": nil, "a number": json.Number("1"),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := project("t", map[string]any{"type": own})
			g.Expect(err).To(MatchError(`key "type" of value collides with the file "type", which holds spec.type ("t"); ` +
				`remove the key, rename it, or give it that same string`))
			g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
		})
	}
}

func TestFilesRefuseABadName(t *testing.T) {
	const canary = "correct-horse"
	files, err := project("t", map[string]any{"..data": canary})
	NewWithT(t).Expect(files).To(BeNil())
	NewWithT(t).Expect(fault.Is(err, v1alpha1.ReasonInvalidFileName)).To(BeTrue())
	NewWithT(t).Expect(err.Error()).NotTo(ContainSubstring(canary))
}

func TestFilesFitIntoAVolume(t *testing.T) {
	g := NewWithT(t)
	value := map[string]any{"small": "12345", "large": strings.Repeat("x", MaxContentBytes-len("12345")-len("t"))}
	_, err := project("t", value)
	g.Expect(err).NotTo(HaveOccurred())

	value["small"] = "123456"
	files, err := project("t", value)
	g.Expect(files).To(BeNil())
	g.Expect(err).To(MatchError(`the files have 1048577 bytes; a volume holds at most 1048576: the largest is "large" with 1048570 bytes`))
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue())
	g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting), "a smaller secret in Vault cures it too")
}

func TestContentNeverAppearsInErrors(t *testing.T) {
	const canary = "correct-horse"
	for name, value := range map[string]any{
		"a number that is none": json.Number(canary),
		"such a number inside":  map[string]any{canary: json.Number(canary)},
		"a float that is none":  []any{canary, math.NaN()},
		"a Go type":             map[string]any{canary: func() {}},
		"too large":             strings.Repeat(canary, MaxContentBytes/10),
	} {
		t.Run(name, func(t *testing.T) {
			files, err := project("t", map[string]any{"key": value})
			NewWithT(t).Expect(files).To(BeNil())
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(`"key"`)))
			NewWithT(t).Expect(err.Error()).NotTo(ContainSubstring(canary))
		})
	}
}
