package expression

import (
	"errors"
	"unicode/utf8"
)

// maxExcerpt is how many characters of an expression or of a place an error shows.
const maxExcerpt = 80

// errNotJSON replaces the errors of the decoder, which may quote the value.
var errNotJSON = errors.New("not valid JSON, or nested too deep")

// bounded returns the text, or its beginning and its end if it is longer than an error should show.
func bounded(text string) string {
	if utf8.RuneCountInString(text) <= maxExcerpt {
		return text
	}
	characters := []rune(text)
	const half = maxExcerpt / 2
	return string(characters[:half-1]) + "…" + string(characters[len(characters)-half:])
}
