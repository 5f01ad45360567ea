package projection

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// jsonWriter writes JSON value by value into a bounded buffer. An encoder of encoding/json would hold all of it before
// the first byte comes out, and up to six times a value's size of escapes.
type jsonWriter struct {
	to      *boundedBuffer
	scratch bytes.Buffer // for one scalar
}

// compactJSON returns JSON on one line: numbers digit for digit, keys sorted, <, > and & as they are. It ends with
// errTooLarge where there is more than a volume holds. Its other errors may quote the value, so callers replace them.
func compactJSON(value any) ([]byte, error) {
	writer := jsonWriter{to: &boundedBuffer{left: MaxContentBytes}}
	if err := writer.value(value); err != nil {
		return nil, err
	}
	return writer.to.buffer.Bytes(), nil
}

func (w *jsonWriter) value(value any) error {
	switch v := value.(type) {
	case string:
		return w.text(v)
	case []any:
		return w.list(v)
	case map[string]any:
		return w.object(v)
	}
	return w.scalar(value)
}

func (w *jsonWriter) list(items []any) error {
	if err := w.to.text("["); err != nil {
		return err
	}
	for i, item := range items {
		if i > 0 {
			if err := w.to.text(","); err != nil {
				return err
			}
		}
		if err := w.value(item); err != nil {
			return err
		}
	}
	return w.to.text("]")
}

func (w *jsonWriter) object(members map[string]any) error {
	if err := w.to.text("{"); err != nil {
		return err
	}
	for i, key := range sortedKeys(members) {
		if i > 0 {
			if err := w.to.text(","); err != nil {
				return err
			}
		}
		if err := w.text(key); err != nil {
			return err
		}
		if err := w.to.text(":"); err != nil {
			return err
		}
		if err := w.value(members[key]); err != nil {
			return err
		}
	}
	return w.to.text("}")
}

// chunk is how many bytes of a string are escaped at a time: escapes take up to six times as many.
const chunk = 4096

func (w *jsonWriter) text(text string) error {
	if err := w.to.text(`"`); err != nil {
		return err
	}
	for text != "" {
		end := min(chunk, len(text))
		for end < len(text) && end > chunk-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		written, err := w.encode(text[:end])
		if err != nil {
			return err
		}
		if _, err := w.to.Write(written[1 : len(written)-1]); err != nil {
			return err
		}
		text = text[end:]
	}
	return w.to.text(`"`)
}

func (w *jsonWriter) scalar(value any) error {
	written, err := w.encode(value)
	if err != nil {
		return err
	}
	_, err = w.to.Write(written)
	return err
}

// encode returns a scalar as JSON, until the next call.
func (w *jsonWriter) encode(scalar any) ([]byte, error) {
	w.scratch.Reset()
	encoder := json.NewEncoder(&w.scratch)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(scalar); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(w.scratch.Bytes(), []byte("\n")), nil
}
