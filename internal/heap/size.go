package heap

import (
	"encoding/json"
	"unicode/utf8"
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
// sure. It builds nothing, so that what does not fit is never made, and allocates nothing, for every read of a secret
// is measured. The size of a text that is no JSON says nothing.
func OfJSON(text []byte, limit int64) int64 {
	if len(text) > 0 && text[0] != '{' && text[0] != '[' && text[0] != ' ' {
		return valuePrice + textPrice + int64(len(text))
	}
	size := int64(0)
	for at := 0; at < len(text) && size < limit; {
		switch c := text[at]; c {
		case ',', ':', ' ', '\t', '\n', '\r':
			at++
		case '{', '[':
			size += valuePrice + containerPrice
			at++
		case '}', ']':
			size += valuePrice
			at++
		case '"':
			length, end := ofString(text[at+1:])
			size += valuePrice + textPrice + length
			at += 1 + end
		default:
			end := at + 1
			for end < len(text) && !endsWord(text[end]) {
				end++
			}
			if size += valuePrice; c == '-' || '0' <= c && c <= '9' {
				size += textPrice + int64(end-at)
			}
			at = end
		}
	}
	return size
}

// ofString returns how many bytes a string takes once it is decoded, at most, and where its text ends.
func ofString(text []byte) (size int64, end int) {
	at := 0
	for at < len(text) {
		switch c := text[at]; {
		case c == '"':
			return size, at + 1
		case c == '\\' && at+1 < len(text) && text[at+1] == 'u':
			size += int64(utf8.RuneLen(utf8.RuneError)) // no unit of UTF-16 takes more
			at += len(`\u0000`)
		case c == '\\':
			size++
			at += len(`\n`)
		case c < utf8.RuneSelf:
			size++
			at++
		default: // what is no UTF-8 becomes utf8.RuneError, which is longer
			r, length := utf8.DecodeRune(text[at:])
			size += int64(utf8.RuneLen(r))
			at += length
		}
	}
	return size, at
}

func endsWord(c byte) bool {
	switch c {
	case ',', ':', ' ', '\t', '\n', '\r', '{', '[', '}', ']', '"':
		return true
	}
	return false
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
