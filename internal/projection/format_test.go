package projection

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/pkg/kvfile"
	"github.com/magiconair/properties"
	. "github.com/onsi/gomega"
	yaml "go.yaml.in/yaml/v3"
	kyaml "sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// hostile are texts that a format may break on, or a program may run.
var hostile = []string{
	"", " ", "plain", "two words", " blanks around ", "tab\tend\t", "a=b", "#comment", "!bang", "key: value", "- item",
	"{a: b}", "[x]", "&a *a",
	`"double"`, `'single'`, `'"both"'`, "`id`", "$(id)", "$HOME", "${HOME}", `back\slash`, `end\`, `\n`, `\u0041`, `\\`, "$'\\x41'", "!!str", "~", "~root",
	"yes", "no", "null", "true", "1e3", "0x10", "0o7", "1_000", "12:30:45", "2026-01-02", "<<", "=", ".inf", "%YAML",
	"@at", "|", ">", "?",
	"größe", "раss", "日本語", "🔑", "\u00a0", "\u2028", "\ufeffbom", "\u0085", "\u007f", "\u0080", "\u200b", "é",
	"\x01\x1b[31m", "..", "../../etc/passwd", "*", "?[a-z]", ";", "a;b", "a&&b", "a|b", "<a>", "(a)", "a\\\"b",
	`it's "$x" \`, "'", `"`, "''", "-n", "--",
	strings.Repeat("x", 5000), "%s%n", "\\$x", "a'b`c$d\"e\\f",
}

// hostileLines are texts with line breaks, which not every format holds.
var hostileLines = []string{
	"\n", "a\nb", "a\n", "\na", "a\r\nb", "a\rb", "a\\\nb", "'\n'", "\"\n$x", "-----BEGIN X-----\nabc\n-----END X-----\n", "a\n\n\nb", "x\nPATH=/evil\n",
	"'\n`", "# a\n# b", "  indented\n    more", "\f",
}

func values(texts ...string) map[string]any {
	value := map[string]any{}
	for i, text := range texts {
		value[numbered(i + 1)[i]] = text
	}
	return value
}

func withLines() []string { return append(append([]string{}, hostile...), hostileLines...) }

func mustFormat(t *testing.T, as v1alpha1.FileFormat, value map[string]any) []byte {
	t.Helper()
	content, err := writeFormat(as, value)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	again, err := writeFormat(as, maps.Clone(value))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(again).To(Equal(content), "equal values make equal files")
	return content
}

// shell runs the program, which reads the file, and returns the variables that it has afterwards.
func shell(t *testing.T, program string, content []byte, keys []string) map[string]any {
	t.Helper()
	g := NewWithT(t)
	path := filepath.Join(t.TempDir(), "env")
	g.Expect(os.WriteFile(path, content, 0o600)).To(Succeed())
	script := "set -eu\n. " + path + "\n"
	for _, key := range keys {
		script += `printf '%s\0' "$` + key + `"` + "\n"
	}
	command := exec.CommandContext(t.Context(), program, "-c", script)
	command.Env = []string{"HOME=/nowhere"}
	output, err := command.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), "%q", output)
	found := map[string]any{}
	for i, text := range strings.Split(strings.TrimSuffix(string(output), "\x00"), "\x00") {
		found[keys[i]] = text
	}
	return found
}

func TestEnvIsReadByShells(t *testing.T) {
	value := values(append(withLines(), "\xff\xfe no text")...)
	content := mustFormat(t, v1alpha1.FileFormatEnv, value)
	programs := 0
	for _, program := range []string{"sh", "dash", "bash"} {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		programs++
		t.Run(program, func(t *testing.T) {
			NewWithT(t).Expect(shell(t, path, content, sortedKeys(value))).To(Equal(value))
		})
	}
	NewWithT(t).Expect(programs).To(BeNumerically(">", 0))
}

func TestDockerEnvIsReadByDocker(t *testing.T) {
	g := NewWithT(t)
	value := values(append([]string{strings.Repeat("x", maxDockerLine-len("k0=\n"))}, hostile...)...)
	content := string(mustFormat(t, v1alpha1.FileFormatDockerEnv, value))
	entries, err := kvfile.ParseFromReader(strings.NewReader(content), nil)
	g.Expect(err).NotTo(HaveOccurred())
	found := map[string]any{}
	for _, entry := range entries {
		key, text, _ := strings.Cut(entry, "=")
		found[key] = text
	}
	g.Expect(found).To(Equal(value))

	_, err = writeFormat(v1alpha1.FileFormatDockerEnv, values(strings.Repeat("x", maxDockerLine-len("k0=\n")+1)))
	g.Expect(err).To(MatchError(HavePrefix(`key "k0" makes a line of more than 64 KiB`)))
}

func TestPropertiesAreReadByTheirParser(t *testing.T) {
	g := NewWithT(t)
	value := values(withLines()...)
	for i, text := range append(withLines(), "\x00", "a\x00b") {
		value["v"+numbered(i + 1)[i]] = text
		value["k "+text] = "x"
	}
	content := mustFormat(t, v1alpha1.FileFormatProperties, value)
	for _, character := range content {
		g.Expect(character).To(BeNumerically("<", 0x7f), "programs differ in how they read anything but ASCII")
	}
	loader := properties.Loader{Encoding: properties.ISO_8859_1, DisableExpansion: true}
	found, err := loader.LoadBytes(content)
	g.Expect(err).NotTo(HaveOccurred())
	for key, text := range value {
		if strings.Contains(key+text.(string), "🔑") {
			continue // the parser knows no pairs of surrogates; Java's does
		}
		g.Expect(found.Map()).To(HaveKeyWithValue(key, text))
	}
	g.Expect(found.Len()).To(Equal(len(value)))
	content = mustFormat(t, v1alpha1.FileFormatProperties, map[string]any{"a b": "\U0001F511 x"})
	g.Expect(string(content)).To(Equal(`a\ b=\uD83D\uDD11 x` + "\n"))
}

// loadProperties prints what Java makes of the file whose path is its argument.
const loadProperties = `
import java.io.*; import java.util.*; import java.nio.charset.StandardCharsets;
public class Load { public static void main(String[] a) throws Exception {
	Properties p = new Properties(); try (InputStream in = new FileInputStream(a[0])) { p.load(in); }
	StringBuilder b = new StringBuilder(); Base64.Encoder e = Base64.getEncoder();
	for (String k : p.stringPropertyNames()) b.append(e.encodeToString(k.getBytes(StandardCharsets.UTF_8))).append(' ')
		.append(e.encodeToString(p.getProperty(k).getBytes(StandardCharsets.UTF_8))).append('\n');
	System.out.print(b); } }`

func TestPropertiesAreReadByJava(t *testing.T) {
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("there is no Java here; the other parser has to do")
	}
	g := NewWithT(t)
	value := values(append(withLines(), "\x00")...)
	for _, text := range withLines() {
		value["k "+text] = "x"
	}
	dir := t.TempDir()
	program, file := filepath.Join(dir, "Load.java"), filepath.Join(dir, "p")
	g.Expect(os.WriteFile(program, []byte(loadProperties), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(file, mustFormat(t, v1alpha1.FileFormatProperties, value), 0o600)).To(Succeed())
	output, err := exec.CommandContext(t.Context(), java, program, file).CombinedOutput()
	if err != nil && strings.Contains(string(output), "compiler") {
		t.Skip("this Java has no compiler")
	}
	g.Expect(err).NotTo(HaveOccurred(), "%s", output)
	found := map[string]any{}
	for line := range strings.Lines(string(output)) {
		key, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		found[decoded(t, key)] = decoded(t, text)
	}
	g.Expect(found).To(Equal(value))
}

func decoded(t *testing.T, text string) string {
	t.Helper()
	content, err := decodeBase64([]byte(text))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// nested has whatever JSON has, below one key.
func nested() map[string]any {
	texts := append(withLines(), "\x00", "a\x00b")
	list, object := []any{}, map[string]any{}
	for _, text := range texts {
		list = append(list, text)
		object[text] = text
	}
	return map[string]any{
		"list": list, "object": object, "null": nil, "yes": true, "off": false, "empty": map[string]any{},
		"none": []any{}, "lists": []any{[]any{}, []any{list}},
		"1": json.Number("1521"), "big": json.Number("12345678901234567890123"), "decimal": json.Number("1521.00"),
		"exponent": json.Number("1e40"),
		"small":    json.Number("-1.5E-7"), "zero": json.Number("-0"),
	}
}

func TestJSONIsReadByItsParser(t *testing.T) {
	g := NewWithT(t)
	decoder := json.NewDecoder(strings.NewReader(string(mustFormat(t, v1alpha1.FileFormatJSON, nested()))))
	decoder.UseNumber()
	var found map[string]any
	g.Expect(decoder.Decode(&found)).To(Succeed())
	g.Expect(found).To(Equal(nested()))
}

func TestYAMLIsReadByItsParsers(t *testing.T) {
	g := NewWithT(t)
	content := mustFormat(t, v1alpha1.FileFormatYAML, nested())
	var tree map[string]yaml.Node
	g.Expect(yaml.Unmarshal(content, &tree)).To(Succeed())
	for key, digits := range map[string]string{
		"1": "1521", "big": "12345678901234567890123", "decimal": "1521.00", "exponent": "1.0e+40", "small": "-1.5e-7",
		"zero": "-0",
	} {
		g.Expect(tree[key].Value).To(Equal(digits))
		g.Expect(tree[key].Tag).To(BeElementOf("!!int", "!!float"), digits)
	}
	var found map[string]any
	g.Expect(yaml.Unmarshal(content, &found)).To(Succeed())
	for _, key := range []string{"list", "object", "yes", "off", "empty", "none", "lists"} {
		g.Expect(found).To(HaveKeyWithValue(key, Equal(nested()[key])), key)
	}
	g.Expect(found).To(HaveKeyWithValue("null", BeNil()))
	// Kubernetes' parser, of YAML 1.1, where yes and off are bools.
	asJSON, err := kyaml.YAMLToJSON(content)
	g.Expect(err).NotTo(HaveOccurred())
	found = nil
	g.Expect(json.Unmarshal(asJSON, &found)).To(Succeed())
	g.Expect(found["list"]).To(Equal(nested()["list"]))
	g.Expect(found["yes"]).To(BeTrue())
	g.Expect(string(content)).To(ContainSubstring("exponent: 1.0e+40\n"))
}

func TestAFormatRefusesWhatItCannotHold(t *testing.T) {
	const canary = "correct-horse"
	for _, row := range []struct {
		name     string
		as       v1alpha1.FileFormat
		value    any
		sentence string
	}{
		{"NUL in Env", v1alpha1.FileFormatEnv, canary + "\x00", "NUL"},
		{"NUL in DockerEnv", v1alpha1.FileFormatDockerEnv, canary + "\x00", "NUL"},
		{"a line break in DockerEnv", v1alpha1.FileFormatDockerEnv, canary + "\nx", "line break"},
		{"a carriage return in DockerEnv", v1alpha1.FileFormatDockerEnv, canary + "\r", "line break"},
		{"no text in DockerEnv", v1alpha1.FileFormatDockerEnv, canary + "\xff", "not text in UTF-8"},
		{"no text in Properties", v1alpha1.FileFormatProperties, canary + "\xff", "not text in UTF-8"},
		{"no text in JSON", v1alpha1.FileFormatJSON, canary + "\xff", "not text in UTF-8"},
		{"no text deep in YAML", v1alpha1.FileFormatYAML, map[string]any{"a": []any{canary + "\xff"}}, "not text in UTF-8"},
		{"a name that is no text", v1alpha1.FileFormatJSON, map[string]any{canary + "\xff": "a"}, "not text in UTF-8"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := writeFormat(row.as, map[string]any{"ok": "x", "the_key": row.value})
			g.Expect(err).To(MatchError(And(HavePrefix(`key "the_key" `), ContainSubstring(row.sentence))))
			g.Expect(err.Error()).NotTo(ContainSubstring(canary))
			g.Expect(fault.Is(err, v1alpha1.ReasonNotRepresentable)).To(BeTrue())
			g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting), "a better secret cures it too")
		})
	}
}

func TestOtherValuesStandAsJSONInEntries(t *testing.T) {
	value := map[string]any{
		"port": json.Number("1521.00"), "tls": true, "none": nil, "list": []any{"<a>", json.Number("1")},
	}
	for as, expected := range map[v1alpha1.FileFormat]string{
		v1alpha1.FileFormatEnv:        "list='[\"<a>\",1]'\nport=1521.00\ntls=true\n",
		v1alpha1.FileFormatDockerEnv:  "list=[\"<a>\",1]\nport=1521.00\ntls=true\n",
		v1alpha1.FileFormatProperties: "list=[\"<a>\",1]\nport=1521.00\ntls=true\n",
	} {
		NewWithT(t).Expect(string(mustFormat(t, as, value))).To(Equal(expected))
	}
}
