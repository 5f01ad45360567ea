package heap

import (
	"bytes"
	"encoding/json"
)

// Prices of what JSON becomes on the heap, rounded up from how Go lays it out.
const (
	// valuePrice is for a value with its place in a list or an object, textPrice for a key, a string or a number beside
	// its bytes, containerPrice for an object or a list with the room that it has from the first member on.
	valuePrice     = 32
	textPrice      = 48
	containerPrice = 336
)

// OfJSON returns what a text of JSON would take of the heap once it is decoded, or limit and more as soon as that is
// sure. It builds nothing, so that what does not fit is never made. A text that is no JSON has the size up to there.
func OfJSON(text []byte, limit int64) int64 {
	if len(text) > 0 && text[0] != '{' && text[0] != '[' && text[0] != ' ' {
		return valuePrice + textPrice + int64(len(text)) // without the buffer of a decoder, for there may be thousands
	}
	tokens, size := json.NewDecoder(bytes.NewReader(text)), int64(0)
	tokens.UseNumber()
	for size < limit {
		token, err := tokens.Token()
		if err != nil {
			break
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				size += containerPrice
			}
		case string:
			size += textPrice + int64(len(v))
		case json.Number:
			size += textPrice + int64(len(v))
		}
		size += valuePrice
	}
	return size
}

// Of returns what a decoded value takes. Values are no deeper than a response of Vault may be.
func Of(value any) int64 {
	size := int64(valuePrice)
	switch v := value.(type) {
	case string:
		size += textPrice + int64(len(v))
	case json.Number:
		size += textPrice + int64(len(v))
	case []any:
		size += containerPrice
		for _, item := range v {
			size += Of(item)
		}
	case map[string]any:
		size += containerPrice
		for key, item := range v {
			size += textPrice + int64(len(key)) + Of(item)
		}
	}
	return size
}
