package projection

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"text/template"
	"unicode/utf8"
)

// maxIndent is the largest indentation.
const maxIndent = 100

// stringFunctions are the functions on texts.
func (f functions) stringFunctions() template.FuncMap {
	// simple makes a function on one text.
	simple := func(do func(string) string) func(any) (any, error) {
		return unaryText(f, func(value any) (string, error) {
			text, err := f.text(value)
			if err != nil {
				return "", err
			}
			return f.encoded(text, func(text string) (string, error) { return do(text), nil })
		})
	}
	// trimmed makes a function on a part and a text that may hold it.
	trimmed := func(do func(text, part string) string) func(part, value any) (any, error) {
		return binary(f, func(part, value any) (string, error) {
			texts, err := f.texts(part, value)
			if err != nil {
				return "", err
			}
			return do(texts[1], texts[0]), nil
		})
	}
	// tests makes a predicate on a part and a text that may hold it.
	tests := func(do func(text, part string) bool) func(part, value any) (any, error) {
		return binary(f, func(part, value any) (bool, error) {
			texts, err := f.texts(part, value)
			return err == nil && do(texts[1], texts[0]), err
		})
	}
	return template.FuncMap{
		"lower":      simple(strings.ToLower),
		"upper":      simple(strings.ToUpper),
		"trim":       simple(strings.TrimSpace),
		"trimPrefix": trimmed(strings.TrimPrefix),
		"trimSuffix": trimmed(strings.TrimSuffix),
		"contains":   tests(strings.Contains),
		"hasPrefix":  tests(strings.HasPrefix),
		"hasSuffix":  tests(strings.HasSuffix),
		"replace":    ternary(f, f.replace),
		"splitList":  binary(f, f.split),
		"join":       binaryText(f, f.joinList),
		"indent":     binaryText(f, func(width, value any) (string, error) { return f.indent("", width, value) }),
		"nindent":    binaryText(f, func(width, value any) (string, error) { return f.indent("\n", width, value) }),
	}
}

func (f functions) replace(old, with, value any) (string, error) {
	texts, err := f.texts(old, with, value)
	if err != nil {
		return "", err
	}
	// Spent in advance: a short template could make a text of a terabyte.
	if err := f.budget.spendOnText(len(texts[2]) + strings.Count(texts[2], texts[0])*len(texts[1])); err != nil {
		return "", err
	}
	return strings.ReplaceAll(texts[2], texts[0], texts[1]), nil
}

func (f functions) split(separator, value any) ([]any, error) {
	texts, err := f.texts(separator, value)
	if err != nil {
		return nil, err
	}
	if err := f.budget.spend((strings.Count(texts[1], texts[0]) + 1) * keyPrice); err != nil {
		return nil, err
	}
	parts := []any{}
	for part := range strings.SplitSeq(texts[1], texts[0]) {
		parts = append(parts, part)
	}
	return parts, nil
}

func (f functions) joinList(separator, list any) (string, error) {
	items, ok := list.([]any)
	if !ok {
		return "", errFunction("join needs a list")
	}
	between, err := f.text(separator)
	if err != nil {
		return "", err
	}
	if err := f.budget.spend(len(items) * nodePrice); err != nil {
		return "", err
	}
	texts, err := f.texts(items...)
	if err != nil {
		return "", err
	}
	return f.join(between, texts)
}

// indent puts blanks before every line.
func (f functions) indent(before string, blanksWanted, value any) (string, error) {
	text, err := f.text(value)
	if err != nil {
		return "", err
	}
	wanted, err := f.integer(blanksWanted)
	switch {
	case err != nil:
		return "", err
	case wanted < 0 || wanted > maxIndent:
		return "", errFunction("a text can be indented by 0 to %d blanks", maxIndent)
	}
	width := int(wanted)
	if err := f.budget.spendOnText(len(text) + (strings.Count(text, "\n")+2)*width); err != nil {
		return "", err
	}
	blanks := strings.Repeat(" ", width)
	return before + blanks + strings.ReplaceAll(text, "\n", "\n"+blanks), nil
}

// encodings are the functions that encode, decode or quote for another language.
func (f functions) encodings() template.FuncMap {
	// on makes a function on one value from one on its text, which may fail.
	on := func(do func(string) (string, error)) func(any) (string, error) {
		return func(value any) (string, error) {
			text, err := f.text(value)
			if err != nil {
				return "", err
			}
			return f.encoded(text, do)
		}
	}
	return template.FuncMap{
		"b64enc":     unary(f, on(toBase64)),
		"b64dec":     unary(f, on(fromBase64)),
		"urlEscape":  unaryText(f, on(urlEscape)),
		"xmlEscape":  unaryText(f, on(xmlEscape)),
		"shellQuote": unaryText(f, on(shellQuote)),
		"sqlQuote":   unaryText(f, on(sqlQuote)),
		"properties": unaryText(f, on(propertyValue)),
		"quote":      unaryText(f, on(quote)),
		"toJson":     unaryText(f, f.toJSON),
		"toYaml":     unaryText(f, f.toYAML),
		"fromJson":   unary(f, f.fromJSON),
	}
}

// encodingPrice is the price of encoding one byte: some encodings write six bytes for it.
const encodingPrice = 4

// encoded spends on a text and on what becomes of it.
func (f functions) encoded(text string, do func(string) (string, error)) (string, error) {
	if err := f.budget.spendOnText(len(text)); err != nil {
		return "", err
	}
	if err := f.budget.spend(len(text) * encodingPrice); err != nil {
		return "", err
	}
	done, err := do(text)
	if err != nil {
		return "", err
	}
	return done, f.budget.spendOnText(len(done))
}

func toBase64(text string) (string, error) {
	return base64.StdEncoding.EncodeToString([]byte(text)), nil
}

func fromBase64(text string) (string, error) {
	decoded, err := decodeBase64([]byte(text))
	if err != nil {
		return "", errFunction("this is not base64 (the standard alphabet of RFC 4648, with padding)")
	}
	return string(decoded), nil
}

// urlEscape escapes for any part of a URL: all but letters, digits, "-", ".", "_" and "~" becomes %XX.
func urlEscape(text string) (string, error) {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20"), nil
}

func errText(function string) error {
	return errFunction("%s needs text in UTF-8, without characters that its language cannot hold", function)
}

// xmlEscape escapes for the content of elements and for attributes.
func xmlEscape(text string) (string, error) {
	var escaped bytes.Buffer
	if err := xml.EscapeText(&escaped, []byte(text)); err != nil {
		return "", errText("xmlEscape")
	}
	// EscapeText replaces characters that XML cannot hold with U+FFFD.
	if !utf8.ValidString(text) || bytes.Count(escaped.Bytes(), []byte("\uFFFD")) != strings.Count(text, "\uFFFD") {
		return "", errText("xmlEscape")
	}
	return escaped.String(), nil
}

// shellQuote makes one word of a POSIX shell.
func shellQuote(text string) (string, error) {
	if strings.Contains(text, "\x00") {
		return "", errText("shellQuote")
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'", nil
}

// sqlQuote makes a string of standard SQL. A backslash begins an escape in some databases and not in others, so it is
// refused.
func sqlQuote(text string) (string, error) {
	if strings.ContainsAny(text, "\x00\\") || !utf8.ValidString(text) {
		return "", errFunction("sqlQuote refuses backslashes and NUL characters, which databases understand in different ways")
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'", nil
}

// propertyValue escapes the right side in a file of java.util.Properties.
func propertyValue(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errText("properties")
	}
	var escaped bytes.Buffer
	escapeProperty(&escaped, text, false)
	return escaped.String(), nil
}

// quote makes a string of JSON, which is one of YAML and of JavaScript too.
func quote(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errText("quote")
	}
	quoted, err := compactJSON(text)
	if err != nil {
		return "", errJSON()
	}
	return unprintable.ReplaceAllStringFunc(string(quoted), func(character string) string {
		r, _ := utf8.DecodeRuneInString(character)
		return fmt.Sprintf(`\u%04x`, r)
	}), nil
}

// unprintable matches characters that JSON may hold unescaped and YAML may not.
var unprintable = regexp.MustCompile(`[\x{7f}-\x{9f}\x{feff}]`)

func (f functions) toJSON(value any) (string, error) {
	if err := f.budget.spendOnValue(value, 1); err != nil {
		return "", err
	}
	if !isText(value) {
		return "", errText("toJson")
	}
	written, err := compactJSON(value)
	if err != nil {
		return "", errJSON()
	}
	return string(written), f.budget.spendOnText(len(written))
}

// toYAML ends without a line break, so that nindent can follow.
func (f functions) toYAML(value any) (string, error) {
	if err := f.budget.spendOnValue(value, 2); err != nil {
		return "", err
	}
	if !isText(value) {
		return "", errText("toYaml")
	}
	written, err := encodeYAML(value)
	if err != nil {
		return "", errFunction("this cannot be written as YAML, or has more than %d bytes", MaxContentBytes)
	}
	text := strings.TrimSuffix(string(written), "\n")
	return text, f.budget.spendOnText(len(text))
}

func (f functions) fromJSON(value any) (any, error) {
	text, err := f.text(value)
	if err != nil {
		return nil, err
	}
	items := strings.Count(text, ",") + strings.Count(text, "[")
	price := len(text)*encodingPrice + items*keyPrice + strings.Count(text, "{")*objectPrice
	if err := f.budget.spend(price); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var decoded any
	if !json.Valid([]byte(text)) || decoder.Decode(&decoded) != nil {
		return nil, errFunction("this is not JSON")
	}
	return templateValue(decoded)
}
