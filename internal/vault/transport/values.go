package transport

import (
	"encoding/json"
	"time"
)

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
