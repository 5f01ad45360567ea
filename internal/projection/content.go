package projection

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// MaxContentBytes is the cap on the content of all files of one volume together: 1 MiB, as for a Secret. The protocol
// between node and resolver has the same.
const MaxContentBytes = 1 << 20

// encode returns a value as the content of a file: strings as they are, nothing for null, everything else as JSON.
func encode(value any) ([]byte, error) {
	if value == nil {
		return nil, nil
	}
	if text, ok := value.(string); ok {
		return []byte(text), nil
	}
	return compactJSON(value)
}

// decodeBase64 returns the bytes that a text in base64 encodes. Only line breaks and blanks in it are ignored.
func decodeBase64(text []byte) ([]byte, error) {
	text = bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text)
	content := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(content, text)
	if err != nil {
		return nil, fault.Waiting(v1alpha1.ReasonNotRepresentable,
			"its text is not base64 (the standard alphabet of RFC 4648, with padding)").
			WithRemedy("correct what Vault holds, or leave out encoding")
	}
	return content[:n], nil
}

// validateSize applies the size limit of a volume before the node would. The fault is waiting, not terminal: a smaller
// secret cures it as well as an edit.
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
	return fault.Waiting(v1alpha1.ReasonTooLarge,
		"the files have %d bytes; a volume holds at most %d: the largest is %q with %d bytes",
		total, MaxContentBytes, bounded(largest.Path), len(largest.Content))
}

// errTooLarge ends the writing of more than a volume holds.
var errTooLarge = errors.New("more than a volume holds")

// boundedBuffer is a buffer that fails with errTooLarge instead of growing beyond its limit.
type boundedBuffer struct {
	buffer bytes.Buffer
	left   int
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooLarge
	}
	return b.buffer.Write(p)
}

// text writes a string.
func (b *boundedBuffer) text(s string) error {
	if b.left -= len(s); b.left < 0 {
		return errTooLarge
	}
	_, err := b.buffer.WriteString(s)
	return err
}

// tooLarge is the fault of a value that is more than a volume holds in the form that the words name.
func tooLarge(words string) *fault.Fault {
	return fault.Waiting(v1alpha1.ReasonTooLarge, "%s more than %d bytes", words, MaxContentBytes)
}

// jsonFault is the fault of a value that cannot be written as JSON. The error itself may quote the value.
func jsonFault(err error) *fault.Fault {
	if errors.Is(err, errTooLarge) {
		return tooLarge("as JSON the value has")
	}
	return fault.Transient(v1alpha1.ReasonInternal, "the value cannot be written as JSON")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
