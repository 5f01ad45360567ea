package expression

import (
	"bytes"
	"encoding/json"
)

// compactJSON returns the value as JSON on one line, with <, > and & as they are.
func compactJSON(value any) (string, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))), nil
}

// quote returns the text as a JSON string. Encoding a string cannot fail.
func quote(text string) string {
	quoted, _ := compactJSON(text)
	return quoted
}

// decode reads exactly one JSON value, with numbers digit for digit. No bytes are null, as in apiextensionsv1.JSON.
func decode(raw []byte) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	// A Decoder, unlike Unmarshal, stops after the first value, so Valid looks for a second one.
	if !json.Valid(raw) {
		return nil, errNotJSON
	}
	// Most are texts and numbers, at every refresh of every volume, and need no Decoder with its buffer.
	switch first := raw[0]; {
	case first == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, errNotJSON
		}
		return text, nil
	case first == '-' || '0' <= first && first <= '9':
		return json.Number(bytes.TrimSpace(raw)), nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, errNotJSON
	}
	return value, nil
}
