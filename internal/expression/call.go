package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxExpressionBytes is the cap on one vault.secret(...). The longest names and paths of Kubernetes and Vault fit.
const maxExpressionBytes = 4096

// call reads an argument and the closing parenthesis.
func (p *parser) call(name string) (part, error) {
	if name == functionText {
		return p.literal()
	}
	reference, err := p.reference()
	if err == nil && p.at-p.start > maxExpressionBytes {
		err = p.fail(p.start, "the expression has %d bytes; at most %d are allowed", p.at-p.start, maxExpressionBytes)
	}
	return part{reference: reference}, err
}

// literal reads the rest of an expression after vault.text(.
func (p *parser) literal() (part, error) {
	p.skipBlanks()
	if p.peek() != '"' {
		return part{}, p.expected("text in double quotes, as in "+p.meantText(), nil)
	}
	text, err := p.quoted()
	if err != nil {
		return part{}, err
	}
	if p.skipBlanks(); p.peek() != ')' {
		return part{}, p.expected(`")"`, nil)
	}
	p.at++
	return part{literal: text}, nil
}

// reference reads the rest of an expression after vault.secret(.
func (p *parser) reference() (Reference, error) {
	if p.skipBlanks(); p.peek() == wholeSecret[0] {
		return Reference{}, p.fail(p.at, "which secret is meant, the expression does not say").
			WithRemedy("give it a name in vaultSecrets, and write vault.secret(name.*)")
	}
	first, err := p.part("a key", "key")
	if err != nil {
		return Reference{}, err
	}
	reference, expected := Reference{Key: first}, `")", ",", "." or ":"`
	switch p.peek() {
	case '.':
		reference = Reference{Secret: first}
		expected, err = p.keyOf(&reference)
	case ':':
		p.at++
		reference = Reference{Config: first}
		if reference.Path, err = p.part("the path of a secret", "path"); err != nil {
			return Reference{}, err
		}
		if p.peek() != '.' {
			return Reference{}, p.expected(`"." and a key`, func() string { return p.meant(".key") })
		}
		expected, err = p.keyOf(&reference)
	}
	from := p.at
	if err == nil && p.peek() == ',' {
		expected = `")"`
		from, reference.Default, err = p.fallback()
	}
	if err != nil {
		return Reference{}, err
	}
	if p.peek() != ')' {
		return Reference{}, p.expected(expected, func() string { return p.meantEnd(reference, from) })
	}
	p.at++
	return reference, nil
}

// keyOf reads what follows the name of a secret: a dot and a key, with the fields below it, or all keys. It returns
// what may come next.
func (p *parser) keyOf(reference *Reference) (expected string, err error) {
	p.at++
	if p.skipBlanks(); p.peek() == wholeSecret[0] {
		p.at++
		p.skipBlanks()
		reference.Whole = true
		return `")" or ","`, nil
	}
	if reference.Key, err = p.part("a key", "key"); err != nil {
		return "", err
	}
	for p.peek() == '.' {
		p.at++
		var field string
		if field, err = p.part("a field", "field"); err != nil {
			return "", err
		}
		reference.Fields = append(reference.Fields, field)
	}
	return `")", "," or "."`, nil
}

// fallback reads a comma and JSON, and returns where that begins.
func (p *parser) fallback() (int, string, error) {
	p.at++
	p.skipBlanks()
	from := p.at
	limit := max(from, p.start+maxExpressionBytes)
	decoder := json.NewDecoder(strings.NewReader(p.source[from:min(len(p.source), limit)]))
	var raw json.RawMessage
	switch err := decoder.Decode(&raw); {
	case err == nil:
	case limit < len(p.source) && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)):
		return from, "", p.fail(from, "the default does not end within the %d bytes of an expression", maxExpressionBytes).
			WithRemedy("close its quotes, lists and objects, or write to Vault what is so long")
	default:
		return from, "", p.fail(from, "the default is not JSON").WithRemedy("%s", p.meantDefault(from))
	}
	if value, err := decode(raw); err != nil || nested(value) > maxDepth {
		return from, "", p.fail(from, "the default has more than %d lists and objects nested", maxDepth).
			WithRemedy("write it to Vault, or nest it less")
	}
	p.at = from + int(decoder.InputOffset())
	p.skipBlanks()
	var compact bytes.Buffer
	_ = json.Compact(&compact, raw) // it was decoded
	return from, compact.String(), nil
}

// part reads one part of a reference and the blanks around it. The placeholder stands for it in a remedy.
func (p *parser) part(what, placeholder string) (string, error) {
	p.skipBlanks()
	from := p.at
	p.partFrom = from
	if p.peek() == '"' {
		value, err := p.quoted()
		if err == nil && value == "" {
			err = p.fail(from, "expected %s, found empty quotes", what).WithRemedy("write it between them")
		}
		p.skipBlanks()
		return value, err
	}
	for p.at < len(p.source) && !isNotBare(rune(p.source[p.at])) {
		p.at++
	}
	value := p.source[from:p.at]
	if value == "" {
		return "", p.expected(what, func() string { return p.meant(placeholder) })
	}
	p.skipBlanks()
	return value, nil
}

// quoted reads a JSON string.
func (p *parser) quoted() (string, error) {
	from := p.at
	for p.at++; p.at < len(p.source); p.at++ {
		switch p.source[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			var text string
			if json.Unmarshal([]byte(p.source[from:p.at]), &text) != nil {
				return "", p.fail(from, `the text in quotes is not a JSON string: line breaks and control characters stand `+
					`there as \n or \u0000, a backslash as \\`)
			}
			return text, nil
		}
	}
	p.at = len(p.source)
	return "", p.fail(from, "the quotes that open here are not closed")
}

func (p *parser) skipBlanks() {
	for p.peek() == ' ' || p.peek() == '\t' {
		p.at++
	}
}

// peek returns the next byte. At the end it returns 0, which no caller looks for.
func (p *parser) peek() byte {
	if p.at >= len(p.source) {
		return 0
	}
	return p.source[p.at]
}

// expected is the error at a position with something else than what. At the end of the string it has no remedy.
func (p *parser) expected(what string, remedy func() string) error {
	found, cure := "the end of the string", ""
	if p.at < len(p.source) {
		character, _ := utf8.DecodeRuneInString(p.source[p.at:])
		found = fmt.Sprintf("%q", string(character))
		if remedy != nil && !p.quiet {
			cure = remedy()
		}
	}
	return p.fail(p.at, "expected %s, found %s after %q", what, found, bounded(p.source[p.start:p.at])).
		WithRemedy("%s", cure)
}

func (p *parser) fail(at int, format string, args ...any) *fault.Fault {
	column := utf8.RuneCountInString(p.source[:at]) + 1
	return fault.Terminal(v1alpha1.ReasonInvalidExpression, "column %d: %s", column, fmt.Sprintf(format, args...))
}
