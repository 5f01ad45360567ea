package projection

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// A format that cannot hold a key or a value refuses it. It never changes it: a password with one character less is worse than none.

// format writes the whole value.
func format(as v1alpha1.FileFormat, value map[string]any) ([]byte, error) {
	switch as {
	case v1alpha1.FileFormatJSON:
		return writeJSON(value)
	case v1alpha1.FileFormatYAML:
		return writeYAML(value)
	case v1alpha1.FileFormatEnv:
		return writeEntries(value, writeEnv)
	case v1alpha1.FileFormatDockerEnv:
		return writeEntries(value, writeDockerEnv)
	case v1alpha1.FileFormatProperties:
		return writeEntries(value, writeProperty)
	default:
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "format %q is unknown", bounded(string(as)))
	}
}

// variable is what a shell takes for the name of a variable.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// validateEntries refuses keys that the format cannot hold.
func validateEntries(as v1alpha1.FileFormat, keys []string) error {
	if as != v1alpha1.FileFormatEnv && as != v1alpha1.FileFormatDockerEnv {
		return nil
	}
	for _, key := range keys {
		if !variable.MatchString(key) {
			return fault.Terminal(v1alpha1.ReasonNotRepresentable, "cannot be the name of an environment variable: letters and digits of ASCII and \"_\", no digit first").
				OnField("key %q of value", bounded(key)).WithRemedy("rename it, or write the file with template")
		}
	}
	return nil
}

// writeEntries writes one entry for each key of the value's top level, in their order. What is no string is written as JSON.
func writeEntries(value map[string]any, write func(to *bytes.Buffer, key, text string) (problem string)) ([]byte, error) {
	var content bytes.Buffer
	for _, key := range sortedKeys(value) {
		text, err := encode(value[key])
		if err != nil {
			return nil, fault.Transient(v1alpha1.ReasonInternal, "cannot be written as JSON").OnField("key %q", bounded(key))
		}
		if problem := write(&content, key, string(text)); problem != "" {
			return nil, errKey(key, "%s", problem)
		}
	}
	return content.Bytes(), nil
}

// writeJSON writes one object on one line.
func writeJSON(value map[string]any) ([]byte, error) {
	if err := validateTexts(value); err != nil {
		return nil, err
	}
	content, err := compact(value)
	if err != nil {
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the value cannot be written as JSON") // the error may quote the value
	}
	return append(content, '\n'), nil
}

const notText = "is not text in UTF-8, which the format needs; keep it in Vault as base64, and decode it with encoding in a file of its own"

// validateTexts refuses strings that an encoder would change without a word.
func validateTexts(value map[string]any) error {
	for _, key := range sortedKeys(value) {
		if !utf8.ValidString(key) || !isText(value[key]) {
			return errKey(key, notText)
		}
	}
	return nil
}

func isText(value any) bool {
	switch v := value.(type) {
	case string:
		return utf8.ValidString(v)
	case []any:
		for _, item := range v {
			if !isText(item) {
				return false
			}
		}
	case map[string]any:
		for key, item := range v {
			if !utf8.ValidString(key) || !isText(item) {
				return false
			}
		}
	}
	return true
}

const holdsNUL = "holds a NUL character, which no environment variable can hold; use another format"

// writeEnv writes an assignment for the shell's command ".".
func writeEnv(to *bytes.Buffer, key, text string) string {
	switch {
	case !variable.MatchString(key):
		return "cannot be the name of an environment variable"
	case strings.Contains(text, "\x00"):
		return holdsNUL
	}
	to.WriteString(key + "=" + shellWord(text) + "\n")
	return ""
}

// plainWord needs no quotes anywhere in a shell's assignment.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

var doubleQuoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`")

// shellWord quotes a text for POSIX shells. It does so only where that is needed, and in one piece: other programs that read such
// files, as systemd does, know quotes, but not several of them in a row.
func shellWord(text string) string {
	switch {
	case plainWord.MatchString(text):
		return text
	case !strings.Contains(text, "'"):
		return "'" + text + "'"
	default:
		return `"` + doubleQuoted.Replace(text) + `"`
	}
}

// maxDockerLine is the longest line that docker run --env-file reads: the buffer of Go's bufio.Scanner.
const maxDockerLine = 64<<10 - 1

// writeDockerEnv writes a line for docker run --env-file. Everything after the = is the value, quotes too.
func writeDockerEnv(to *bytes.Buffer, key, text string) string {
	switch {
	case !variable.MatchString(key):
		return "cannot be the name of an environment variable"
	case strings.Contains(text, "\x00"):
		return holdsNUL
	case strings.ContainsAny(text, "\n\r"):
		return "holds a line break, which docker's format cannot hold; use another format"
	case !utf8.ValidString(text):
		return notText
	case len(key)+len("=\n")+len(text) > maxDockerLine:
		return "makes a line of more than 64 KiB, which docker does not read; use another format"
	}
	to.WriteString(key + "=" + text + "\n")
	return ""
}
