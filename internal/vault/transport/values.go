package transport

import (
	"bytes"
	"encoding/json"
	"time"
)

// Prices of what JSON becomes on the heap, rounded up from how Go lays it out.
const (
	// valuePrice is for a value with its place in a list or an object, textPrice for a key, a string or a number beside
	// its bytes, containerPrice for an object or a list with the room that it has from the first member on.
	valuePrice     = 32
	textPrice      = 48
	containerPrice = 336
)

// heapSize returns what a body of JSON would take of the heap, or limit and more as soon as that is sure. It builds
// nothing, so that what does not fit is never made. A body that is no JSON has the size up to there.
func heapSize(body []byte, limit int64) int64 {
	tokens, size := json.NewDecoder(bytes.NewReader(body)), int64(0)
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

// Number reads a whole number of a response; 0 if it is none.
func Number(value any) int64 {
	n, _ := value.(json.Number)
	i, _ := n.Int64()
	return i
}

// Seconds reads a number of seconds.
func Seconds(value any) time.Duration { return time.Duration(Number(value)) * time.Second }

// Timestamp reads a time; zero if Vault does not say.
func Timestamp(value any) time.Time {
	text, _ := value.(string)
	parsed, _ := time.Parse(time.RFC3339Nano, text)
	return parsed
}

// Texts reads a list of strings.
func Texts(value any) []string {
	list, _ := value.([]any)
	found := make([]string, 0, len(list))
	for _, entry := range list {
		if text, ok := entry.(string); ok {
			found = append(found, text)
		}
	}
	return found
}
