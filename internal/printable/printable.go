// Package printable makes what others say fit to be shown: what a Vault, or a server that poses as one, calls itself,
// its engines and its keys goes into status, events and logs, where control characters move cursors, a line break
// forges a line, U+202E turns text around, and no length is too large.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cut stands at the end of what was too long.
const cut = "..."

// Text returns text as it is if it can be printed on one line and has at most limit bytes. Else what cannot be printed
// is escaped as Go does it, and what is beyond the limit is cut off.
func Text(text string, limit int) string {
	if len(text) <= limit && isPrintable(text) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		shown := string(r)
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			_, size := utf8.DecodeRuneInString(text[i:])
			quoted := strconv.Quote(text[i : i+size])
			shown = quoted[1 : len(quoted)-1]
		}
		rest := limit - b.Len()
		if len(shown) > rest || len(shown) > rest-len(cut) && len(text) > i+utf8.RuneLen(r) {
			return b.String() + cut[:min(len(cut), rest)]
		}
		b.WriteString(shown)
	}
	return b.String()
}

// Line is Text without a limit.
func Line(text string) string {
	if isPrintable(text) {
		return text
	}
	return Text(text, 10*len(text))
}

// maxQuoted bounds a name in a sentence, in bytes.
const maxQuoted = 128

// Quote returns text for a sentence, in quotes, so that it cannot be taken for a part of the sentence: a cure, say.
func Quote(text string) string {
	return `"` + strings.ReplaceAll(Text(text, maxQuoted), `"`, `\"`) + `"`
}

// Texts are the first of the texts, at most max of them, each as Text returns it.
func Texts(texts []string, limit, most int) []string {
	shown := make([]string, min(len(texts), most))
	for i := range shown {
		shown[i] = Text(texts[i], limit)
	}
	return shown
}

func isPrintable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
