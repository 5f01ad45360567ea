package projection

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// MaxContentBytes is the cap on the content of all files of one volume together: 1 MiB, as for a Secret. The protocol between node and
// resolver has the same.
const MaxContentBytes = 1 << 20

// encode returns what is in the file of a value: numbers digit for digit, keys sorted, <, > and & as they are.
func encode(value any) ([]byte, error) {
	if text, ok := value.(string); ok {
		return []byte(text), nil
	}
	return compact(value)
}

// compact returns JSON on one line.
func compact(value any) ([]byte, error) {
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
	return fault.Waiting(v1alpha1.ReasonTooLarge, "the files have %d bytes; a volume holds at most %d: the largest is %q with %d bytes",
		total, MaxContentBytes, bounded(largest.Path), len(largest.Content))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
