package projection

import (
	"bytes"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// fileFormat is one way to write the whole value of a Connection to a file. A format refuses a key or a value that it
// cannot hold, and never changes one: a password with one character less is worse than none.
type fileFormat struct {
	// validateKeys refuses keys of the value's top level, before a secret is read. Nil if the format holds every key.
	validateKeys func(keys []string) error
	// write returns the content of the file. Equal values make equal bytes.
	write func(value map[string]any) ([]byte, error)
}

// fileFormats is the registry of file formats. Each format registers itself in a file of its own, format_NAME.go, so
// that a new one is that file and its constant in the API. A test compares the registry with the CRD and with the docs.
var fileFormats = map[v1alpha1.FileFormat]fileFormat{}

// registerFormat is called once for each format, in the declaration of a package variable; its result is that
// variable's value, which nobody uses.
func registerFormat(name v1alpha1.FileFormat, format fileFormat) fileFormat { //nolint:unparam // see above
	fileFormats[name] = format
	return format
}

// writeFormat writes the whole value in the format of this name. The API server admits no other names than those of the
// registry, but an object may be older than this program.
func writeFormat(name v1alpha1.FileFormat, value map[string]any) ([]byte, error) {
	format, known := fileFormats[name]
	if !known {
		return nil, fault.Terminal(v1alpha1.ReasonInvalidSpec, "format %q is unknown", bounded(string(name)))
	}
	return format.write(value)
}

// validateFormatKeys refuses keys that the format of this name cannot hold. An unknown format is left to writeFormat.
func validateFormatKeys(name v1alpha1.FileFormat, keys []string) error {
	format := fileFormats[name]
	if format.validateKeys == nil {
		return nil
	}
	return format.validateKeys(keys)
}

// entries returns the write function of a format with one entry for each key of the value's top level, in the order of
// the keys. Values other than strings are written as JSON; a key with null has no entry. writeEntry appends an entry,
// or returns a fault without a field.
func entries(writeEntry func(to *bytes.Buffer, key, text string) *fault.Fault) func(map[string]any) ([]byte, error) {
	return func(value map[string]any) ([]byte, error) {
		var content bytes.Buffer
		for _, key := range sortedKeys(value) {
			if value[key] == nil {
				continue
			}
			text, err := encode(value[key])
			if err != nil {
				return nil, jsonFault(err).OnField("key %q", bounded(key))
			}
			if len(text) > MaxContentBytes { // before the escapes make it larger still
				return nil, tooLarge("the value has").OnField("key %q", bounded(key))
			}
			if problem := writeEntry(&content, key, string(text)); problem != nil {
				return nil, problem.OnField("key %q", bounded(key))
			}
			if content.Len() > MaxContentBytes {
				return nil, tooLarge("with it the file has").OnField("key %q", bounded(key))
			}
		}
		return content.Bytes(), nil
	}
}

// notRepresentable is the fault of a value that a format cannot hold. It is waiting: another secret cures it as well as
// an edit.
func notRepresentable(problem, remedy string) *fault.Fault {
	return fault.Waiting(v1alpha1.ReasonNotRepresentable, "%s", problem).WithRemedy("%s", remedy)
}

// notText is the fault of bytes in a format of text.
func notText() *fault.Fault {
	return notRepresentable("is not text in UTF-8, which the format needs",
		"keep it in Vault as base64, and decode it with encoding in a file of its own")
}

// validateTexts refuses strings that are not UTF-8: an encoder would replace their bytes without an error.
func validateTexts(value map[string]any) error {
	for _, key := range sortedKeys(value) {
		if !utf8.ValidString(key) || !isText(value[key]) {
			return notText().OnField("key %q", bounded(key))
		}
	}
	return nil
}

// isText tells whether all strings of a value are UTF-8, at any depth.
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
