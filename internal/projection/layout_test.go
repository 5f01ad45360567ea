package projection

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func chosen(files ...v1alpha1.ConnectionFile) *v1alpha1.ConnectionSpec {
	return &v1alpha1.ConnectionSpec{Type: "t", Files: files}
}

func TestChosenFilesReplaceThoseOfTheKeys(t *testing.T) {
	g := NewWithT(t)
	mode := int32(0o400)
	spec := chosen(
		v1alpha1.ConnectionFile{Path: "app.json", Format: v1alpha1.FileFormatJSON},
		v1alpha1.ConnectionFile{Path: "jdbc.url", Value: "jdbc:vault.secret(user)", Mode: &mode},
		v1alpha1.ConnectionFile{Path: "number", Value: "vault.secret(port)"},
		v1alpha1.ConnectionFile{Path: "key.p12", Value: "vault.secret(store)", Encoding: v1alpha1.FileEncodingBase64},
		v1alpha1.ConnectionFile{Path: "app.conf", Template: "user = {{ .user | quote }}\n"},
		v1alpha1.ConnectionFile{
			Path: "from.template", Template: "{{ .binary }}", Encoding: v1alpha1.FileEncodingBase64,
		},
	)
	spec.Provider = "bitnami"
	value := map[string]any{"user": "scott", "type": "anything", "a/b": "no file name", "binary": "/w=="}
	layout, err := NewLayout(spec, sortedKeys(value))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(layout.Texts()).To(Equal(map[string]string{
		"jdbc.url": "jdbc:vault.secret(user)", "number": "vault.secret(port)", "key.p12": "vault.secret(store)",
	}))
	files, err := layout.Files(context.Background(), value, map[string]any{
		"jdbc.url": "jdbc:scott", "number": json.Number("1521"), "key.p12": "AAEC\n /w==\r\n",
	}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(files)).To(Equal(map[string]string{
		"type": "t", "provider": "bitnami", "jdbc.url": "jdbc:scott", "number": "1521", "key.p12": "\x00\x01\x02\xff",
		"from.template": "\xff",
		"app.conf":      "user = \"scott\"\n",
		"app.json":      `{"a/b":"no file name","binary":"/w==","type":"anything","user":"scott"}` + "\n",
	}))
	for i, file := range files {
		g.Expect(file.Mode).To(Equal(map[string]uint32{"jdbc.url": 0o400}[file.Path]))
		g.Expect(i == 0 || files[i-1].Path < file.Path).To(BeTrue(), "sorted by path")
	}
}

func TestProviderIsAFileBesidesTheKeys(t *testing.T) {
	g := NewWithT(t)
	spec := &v1alpha1.ConnectionSpec{Type: "postgresql", Provider: "bitnami"}
	layout, err := NewLayout(spec, []string{"user", "provider"})
	g.Expect(err).NotTo(HaveOccurred())
	files, err := layout.Files(context.Background(), map[string]any{"user": "u", "provider": "bitnami"}, nil, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(files)).To(Equal(map[string]string{"type": "postgresql", "provider": "bitnami", "user": "u"}))
	_, err = layout.Files(context.Background(), map[string]any{"provider": "correct-horse"}, nil, nil)
	g.Expect(err).To(MatchError(`key "provider" of value collides with the file "provider", which holds spec.provider ("bitnami"); ` +
		`remove the key, rename it, or give it that same string`))

	files, err = project("t", map[string]any{"provider": "a key like any other"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(files)).To(HaveKeyWithValue("provider", "a key like any other"))
}

func TestNewLayoutSaysWhatIsWrongWithAFile(t *testing.T) {
	env := v1alpha1.FileFormatEnv
	for _, row := range []struct {
		name, reason, sentence string
		files                  []v1alpha1.ConnectionFile
	}{
		{"a way out", v1alpha1.ReasonInvalidFileName, `files[0].path "../x" cannot be the name of a file: it must not be "." and not begin with ".."`,
			[]v1alpha1.ConnectionFile{{Path: "../x", Value: "a"}}},
		{"a way out of a directory", v1alpha1.ReasonInvalidFileName, `files[0].path "a/../../x" cannot be the name of a file: it must not be "."`,
			[]v1alpha1.ConnectionFile{{Path: "a/../../x", Value: "a"}}},
		{"a directory", v1alpha1.ReasonInvalidFileName, `files[0].path "a/" cannot be the name of a file: it begins or ends with "/"`,
			[]v1alpha1.ConnectionFile{{Path: "a/", Value: "a"}}},
		{"too many directories", v1alpha1.ReasonInvalidFileName, `files[0].path "a/a/a/a/a/a/a/a/a" cannot be the name of a file: it has 9 parts, at most 8 are allowed`,
			[]v1alpha1.ConnectionFile{{Path: "a/a/a/a/a/a/a/a/a", Value: "a"}}},
		{"a long path", v1alpha1.ReasonInvalidFileName, `files[0].path "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…" cannot be the name of a file: it has 255 bytes, at most 253 are allowed`,
			[]v1alpha1.ConnectionFile{{Path: strings.Repeat("a", 127) + "/" + strings.Repeat("a", 127), Value: "a"}}},
		{"a file below a file", v1alpha1.ReasonInvalidFileName, `files[1].path "a/b/c" cannot be the name of a file: "a/b" is a file, and no directory`,
			[]v1alpha1.ConnectionFile{{Path: "a/b", Value: "a"}, {Path: "a/b/c", Value: "a"}}},
		{"a file above a file", v1alpha1.ReasonInvalidFileName, `files[1].path "a" cannot be the name of a file: it is the directory of "a/b/c"`,
			[]v1alpha1.ConnectionFile{{Path: "a/b/c", Value: "a"}, {Path: "a", Value: "a"}}},
		{"a file below the file type", v1alpha1.ReasonInvalidFileName, `files[0].path "type/a" cannot be the name of a file: "type" is a file, and no directory`,
			[]v1alpha1.ConnectionFile{{Path: "type/a", Value: "a"}}},
		{"an absolute path", v1alpha1.ReasonInvalidFileName, `files[0].path "/etc/passwd"`, []v1alpha1.ConnectionFile{{Path: "/etc/passwd", Value: "a"}}},
		{"the volume's data", v1alpha1.ReasonInvalidFileName, `files[0].path "..data"`, []v1alpha1.ConnectionFile{{Path: "..data", Value: "a"}}},
		{"the file type", v1alpha1.ReasonInvalidFileName, `files[0].path "type" cannot be the name of a file: there is another`,
			[]v1alpha1.ConnectionFile{{Path: "type", Value: "a"}}},
		{"the same path twice", v1alpha1.ReasonInvalidFileName, `files[1].path "a" cannot be the name of a file: there is another`,
			[]v1alpha1.ConnectionFile{{Path: "a", Value: "a"}, {Path: "a", Format: env}}},
		{"a key that is no variable", v1alpha1.ReasonNotRepresentable, `file "a": key "my-key" of value cannot be the name of an environment variable`,
			[]v1alpha1.ConnectionFile{{Path: "a", Format: env}}},
		{"a template that does not parse", v1alpha1.ReasonInvalidTemplate, `file "a.conf": line 2: unexpected "}" in command`,
			[]v1alpha1.ConnectionFile{{Path: "a.conf", Template: "\n{{ } }}"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := NewLayout(chosen(row.files...), []string{"ok", "my-key"})
			g.Expect(err).To(MatchError(HavePrefix(row.sentence)))
			g.Expect(fault.Is(err, row.reason)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassTerminal))
		})
	}
}

func TestWhatIsNotBase64IsRefusedAndNotShown(t *testing.T) {
	const canary = "correct-horse"
	for _, text := range []string{canary, "AAE", "AA==AA==", "AAECAw==\x00", base64.URLEncoding.EncodeToString([]byte("\xff\xfe\xfd")), "AAF="} {
		file := v1alpha1.ConnectionFile{Path: "f", Value: "vault.secret(x)", Encoding: v1alpha1.FileEncodingBase64}
		layout, err := NewLayout(chosen(file), nil)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		_, err = layout.Files(context.Background(), nil, map[string]any{"f": text}, nil)
		NewWithT(t).Expect(err).To(MatchError(HavePrefix(`file "f": its text is not base64`)), text)
		NewWithT(t).Expect(err.Error()).NotTo(ContainSubstring(canary))
	}
}

func TestManyFilesOfALargeValueStopAtTheLimit(t *testing.T) {
	g := NewWithT(t)
	spec := chosen()
	for _, path := range numbered(128) {
		spec.Files = append(spec.Files, v1alpha1.ConnectionFile{Path: path, Format: v1alpha1.FileFormatJSON})
	}
	layout, err := NewLayout(spec, nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = layout.Files(context.Background(), map[string]any{"large": strings.Repeat("x", 600<<10)}, nil, nil)
	g.Expect(err).To(MatchError(HavePrefix("the files have 1228826 bytes; a volume holds at most 1048576")), "two of them, and no third")
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue())

	deep := any("x")
	for range 9000 {
		deep = map[string]any{"k": deep}
	}
	_, err = writeYAML(map[string]any{"deep": deep})
	g.Expect(err).To(MatchError("as YAML the value has more than 1048576 bytes"), "the blanks before each line are what is large")
}

func TestTenThousandKeysFitIntoOneFile(t *testing.T) {
	g := NewWithT(t)
	value := map[string]any{}
	for _, key := range numbered(10_000) {
		value[key] = "x"
	}
	layout, err := NewLayout(chosen(
		v1alpha1.ConnectionFile{Path: "env", Format: v1alpha1.FileFormatEnv},
		v1alpha1.ConnectionFile{Path: "yaml", Format: v1alpha1.FileFormatYAML},
		v1alpha1.ConnectionFile{Path: "template", Template: "{{ range $k, $v := . }}{{ $k | upper }}={{ $v }}\n{{ end }}"},
	), sortedKeys(value))
	g.Expect(err).NotTo(HaveOccurred())
	files, err := layout.Files(context.Background(), value, nil, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(string(files[0].Content), "\n")).To(Equal(10_000))
	g.Expect(strings.Count(string(files[1].Content), "\n")).To(Equal(10_000))
}
