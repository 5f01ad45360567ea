package projection

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// MaxContentBytes is the cap on the content of all files of one volume together: 1 MiB, as for a Secret. The protocol between node and
// resolver has the same.
const MaxContentBytes = 1 << 20

// Files projects a resolved value: one file for each of its keys, strings as they are and everything else as compact JSON, and
// the file type. They are sorted by path. Equal values make equal files, byte for byte. The error is a *fault.Fault.
func Files(connectionType string, value map[string]any) ([]File, error) {
	keys := slices.Sorted(maps.Keys(value))
	if err := ValidateNames(connectionType, keys); err != nil {
		return nil, err
	}
	files := make([]File, 0, len(keys)+1)
	for _, key := range keys {
		if key == typeFile {
			if own, ok := value[key].(string); !ok || own != connectionType {
				return nil, fault.Invalid(v1alpha1.ReasonInvalidSpec, `key "type" of value collides with the file "type", which holds `+
					"spec.type (%q); remove the key, rename it, or give it that same string", bounded(connectionType))
			}
			continue
		}
		content, err := encode(value[key])
		if err != nil {
			// What the encoder says may quote the value.
			return nil, fault.New(v1alpha1.ReasonInternal, "key %q of value cannot be written as JSON", bounded(key))
		}
		files = append(files, File{Path: key, Content: content})
	}
	files = append(files, File{Path: typeFile, Content: []byte(connectionType)})
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if err := validateSize(files); err != nil {
		return nil, err
	}
	return files, nil
}

// encode returns what is in the file of a value: numbers digit for digit, keys sorted, <, > and & as they are.
func encode(value any) ([]byte, error) {
	if text, ok := value.(string); ok {
		return []byte(text), nil
	}
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(content.Bytes(), []byte("\n")), nil
}

// validateSize lets nothing through that the node would refuse. Not an edit alone cures a size, a smaller secret does too.
func validateSize(files []File) error {
	total := 0
	largest := files[0]
	for _, file := range files {
		total += len(file.Content)
		if len(file.Content) > len(largest.Content) {
			largest = file
		}
	}
	if total <= MaxContentBytes {
		return nil
	}
	return fault.Wait(v1alpha1.ReasonTooLarge, "the files have %d bytes; a volume holds at most %d: the largest is %q with %d bytes",
		total, MaxContentBytes, bounded(largest.Path), len(largest.Content))
}
