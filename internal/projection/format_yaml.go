package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

var _ = registerFormat(v1alpha1.FileFormatYAML, fileFormat{write: writeYAML})

// writeYAML writes a block mapping, keys sorted.
func writeYAML(value map[string]any) ([]byte, error) {
	if err := validateTexts(value); err != nil {
		return nil, err
	}
	content, err := encodeYAML(value)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, tooLarge("as YAML the value has")
	case err != nil: // it may quote the value
		return nil, fault.Transient(v1alpha1.ReasonInternal, "the value cannot be written as YAML")
	}
	return content, nil
}

// encodeYAML writes YAML value by value, so that nothing but the text itself is held. A library would make a tree of
// nodes first, of 160 bytes for each empty list. Numbers keep their digits, and strings are always in double quotes, so
// that parsers of YAML 1.1 and 1.2 both take a string for a string.
func encodeYAML(value any) ([]byte, error) {
	writer := yamlWriter{to: &boundedBuffer{left: MaxContentBytes}}
	if err := writer.value(value, 0); err != nil {
		return nil, err
	}
	if err := writer.to.text("\n"); err != nil {
		return nil, err
	}
	return writer.to.buffer.Bytes(), nil
}

// yamlIndent is by how many blanks a list or mapping stands to the right of the one that it is in.
const yamlIndent = 2

// maxImplicitKey is the longest key, in bytes, that stands before its colon; the specification allows 1024 characters.
const maxImplicitKey = 128

// isExplicit tells whether a key stands behind a question mark: it is long, or holds a line break, though it is written
// on one line.
func isExplicit(key string) bool {
	return len(key) > maxImplicitKey || strings.ContainsAny(key, "\n\r\u0085\u2028\u2029")
}

type yamlWriter struct{ to *boundedBuffer }

// value writes a value whose first line stands where the writer is, and its other lines behind depth blanks.
func (w yamlWriter) value(value any, depth int) error {
	switch v := value.(type) {
	case nil:
		return w.to.text("null")
	case bool:
		return w.to.text(strconv.FormatBool(v))
	case string:
		return w.quoted(v)
	case []any:
		if len(v) == 0 {
			return w.to.text("[]")
		}
		return w.list(v, depth)
	case map[string]any:
		if len(v) == 0 {
			return w.to.text("{}")
		}
		return w.mapping(v, depth)
	default:
		written, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return w.to.text(yamlNumber(string(written)))
	}
}

func (w yamlWriter) list(items []any, depth int) error {
	for i, item := range items {
		if i > 0 {
			if err := w.newLine(depth); err != nil {
				return err
			}
		}
		if err := w.to.text("- "); err != nil {
			return err
		}
		if err := w.value(item, depth+yamlIndent); err != nil {
			return err
		}
	}
	return nil
}

func (w yamlWriter) mapping(members map[string]any, depth int) error {
	for i, key := range sortedKeys(members) {
		if i > 0 {
			if err := w.newLine(depth); err != nil {
				return err
			}
		}
		if err := w.member(key, members[key], depth); err != nil {
			return err
		}
	}
	return nil
}

// member writes a key and its value.
func (w yamlWriter) member(key string, value any, depth int) error {
	if isExplicit(key) {
		if err := w.to.text("? "); err != nil {
			return err
		}
		if err := w.key(key); err != nil {
			return err
		}
		if err := w.newLine(depth); err != nil {
			return err
		}
		if err := w.to.text(": "); err != nil {
			return err
		}
		return w.value(value, depth+yamlIndent)
	}
	if err := w.key(key); err != nil {
		return err
	}
	if !isBlock(value) {
		if err := w.to.text(": "); err != nil {
			return err
		}
		return w.value(value, depth)
	}
	if err := w.to.text(":"); err != nil {
		return err
	}
	if err := w.newLine(depth + yamlIndent); err != nil {
		return err
	}
	return w.value(value, depth+yamlIndent)
}

// isBlock tells whether a value takes lines of its own.
func isBlock(value any) bool {
	switch v := value.(type) {
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

func (w yamlWriter) newLine(depth int) error { return w.to.text("\n" + strings.Repeat(" ", depth)) }

var plainKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// reservedKey matches words that a parser of YAML 1.1 takes for a bool or for null.
var reservedKey = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null)$`)

// key writes a key without quotes, unless a parser needs them.
func (w yamlWriter) key(key string) error {
	if plainKey.MatchString(key) && !reservedKey.MatchString(key) {
		return w.to.text(key)
	}
	return w.quoted(key)
}

// yamlEscapes are the characters that have an escape of their own.
var yamlEscapes = map[rune]string{
	0: `\0`, '\a': `\a`, '\b': `\b`, '\t': `\t`, '\n': `\n`, '\v': `\v`, '\f': `\f`, '\r': `\r`, 0x1b: `\e`, '"': `\"`,
	'\\': `\\`, 0x85: `\N`, 0x2028: `\L`, 0x2029: `\P`,
}

// quoted writes a string in double quotes on one line. What the specification does not count among the printable
// characters is escaped, and so is what old parsers do not: all beyond the basic plane.
func (w yamlWriter) quoted(text string) error {
	if err := w.to.text(`"`); err != nil {
		return err
	}
	written := 0 // up to where it is
	for at, r := range text {
		escape, escaped := yamlEscapes[r]
		switch {
		case escaped:
		case r >= ' ' && r <= '~', r >= 0xA0 && r <= 0xD7FF, r >= 0xE000 && r <= 0xFFFD && r != 0xFEFF:
			continue
		case r <= 0xFF:
			escape = fmt.Sprintf(`\x%02X`, r)
		case r <= 0xFFFF:
			escape = fmt.Sprintf(`\u%04X`, r)
		default:
			escape = fmt.Sprintf(`\U%08X`, r)
		}
		if err := w.to.text(text[written:at] + escape); err != nil {
			return err
		}
		written = at + utf8.RuneLen(r)
	}
	return w.to.text(text[written:] + `"`)
}

// yamlNumber makes a number of JSON one of YAML 1.1 too, in which the point and the sign are not optional: it takes 1e3
// for a string.
func yamlNumber(digits string) string {
	mantissa, exponent, found := strings.Cut(strings.ToLower(digits), "e")
	if !found {
		return digits
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if !strings.HasPrefix(exponent, "-") && !strings.HasPrefix(exponent, "+") {
		exponent = "+" + exponent
	}
	return mantissa + "e" + exponent
}
