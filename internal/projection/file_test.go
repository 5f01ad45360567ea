package projection

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	. "github.com/onsi/gomega"
)

func TestFileNeverPrintsItsContent(t *testing.T) {
	const canary = "correct-horse-battery-staple"
	file := File{Path: "password", Content: []byte(canary)}
	type holder struct{ Files []File }
	// The canary as text, in hexadecimal of either case, as decimal numbers, as %#v writes bytes, as octal numbers, and
	// as base64.
	leaks := Or(ContainSubstring(canary), ContainSubstring("636f7272"), ContainSubstring("636F7272"),
		ContainSubstring("99 111 114"),
		ContainSubstring("0x63, 0x6f"), ContainSubstring("143 157 162"), ContainSubstring("Y29ycmVjdC1ob3JzZ"))

	for _, value := range []any{file, &file, []File{file}, []*File{&file}, map[string]File{"f": file},
		holder{[]File{file}}, &holder{[]File{file}}, []any{file}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "% x", "%#x",
			"%o", "%b", "%c", "%U", "%T", "%z", "%"} {
			NewWithT(t).Expect(fmt.Sprintf(verb, value)).NotTo(leaks, "%T printed with %s", value, verb)
		}
		NewWithT(t).Expect(fmt.Sprint(value)).NotTo(leaks)
		written, err := json.Marshal(value)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(string(written)).NotTo(leaks)
		NewWithT(t).Expect(string(written)).To(ContainSubstring(`{"path":"password"}`))

		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("files", "files", value)
		slog.New(slog.NewTextHandler(&logged, nil)).Info("files", "files", value)
		NewWithT(t).Expect(logged.String()).NotTo(leaks)
	}
	for _, text := range []string{file.String(), file.GoString(), fmt.Sprint(file.MarshalLog())} {
		NewWithT(t).Expect(text).To(Equal(`File{path: "password"}`))
	}
}
