package projection

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

var _ = registerFormat(v1alpha1.FileFormatProperties, fileFormat{write: entries(writeProperty)})

// writeProperty writes a line for java.util.Properties, in ASCII: some programs read such files as ISO 8859-1, others
// as UTF-8. Source: the documentation of Properties.load and store.
func writeProperty(to *bytes.Buffer, key, text string) *fault.Fault {
	if !utf8.ValidString(key) || !utf8.ValidString(text) {
		return notText()
	}
	escapeProperty(to, key, true)
	to.WriteByte('=')
	escapeProperty(to, text, false)
	to.WriteByte('\n')
	return nil
}

// escapeProperty escapes a key, or a value, of which only a leading blank would be lost.
func escapeProperty(to *bytes.Buffer, text string, isKey bool) {
	for i, r := range text {
		switch {
		case r == ' ' && (isKey || i == 0), strings.ContainsRune(`\=:#!`, r):
			to.WriteByte('\\')
			to.WriteRune(r)
		case r == '\t':
			to.WriteString(`\t`)
		case r == '\n':
			to.WriteString(`\n`)
		case r == '\r':
			to.WriteString(`\r`)
		case r == '\f':
			to.WriteString(`\f`)
		case ' ' <= r && r <= '~':
			to.WriteRune(r)
		default:
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(to, `\u%04X`, unit)
			}
		}
	}
}
