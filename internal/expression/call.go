package expression

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxExpressionBytes is the cap on one vault.secret(...). The longest names and paths of Kubernetes and Vault fit.
const maxExpressionBytes = 4096

const remedyQuotes = `a part with other characters than letters, digits, "_", "-" and "/" stands in quotes, ` +
	`as in vault.secret("a.b")`

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
		return part{}, p.expected(`text in double quotes, as in vault.text("…")`, "")
	}
	text, err := p.quoted()
	if err != nil {
		return part{}, err
	}
	return part{literal: text}, p.accept(')', `")"`, "")
}

// reference reads the rest of an expression after vault.secret(.
func (p *parser) reference() (Reference, error) {
	if p.skipBlanks(); p.peek() == wholeSecret[0] {
		return Reference{}, p.fail(p.at, "which secret is meant, the expression does not say").
			WithRemedy("give it a name in vaultSecrets, and write vault.secret(name.*)")
	}
	first, err := p.part("a key")
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
		if reference.Path, err = p.part("the path of a secret"); err != nil {
			return Reference{}, err
		}
		if p.peek() != '.' {
			return Reference{}, p.expected(`"." and a key, as in vault.secret(config:path.key)`, remedyQuotes)
		}
		expected, err = p.keyOf(&reference)
	}
	if err == nil && p.peek() == ',' {
		expected = `")"`
		reference.Default, err = p.fallback()
	}
	if err != nil {
		return Reference{}, err
	}
	return reference, p.accept(')', expected, remedyQuotes)
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
	if reference.Key, err = p.part("a key"); err != nil {
		return "", err
	}
	for p.peek() == '.' {
		p.at++
		var field string
		if field, err = p.part("a field"); err != nil {
			return "", err
		}
		reference.Fields = append(reference.Fields, field)
	}
	return `")", "," or "."`, nil
}

// fallback reads a comma and JSON.
func (p *parser) fallback() (string, error) {
	p.at++
	p.skipBlanks()
	from := p.at
	rest := p.source[from:min(len(p.source), max(from, p.start+maxExpressionBytes))]
	decoder := json.NewDecoder(strings.NewReader(rest))
	var raw json.RawMessage
	if decoder.Decode(&raw) != nil {
		return "", p.fail(from, "the default is not JSON, or not all of it fits into the %d bytes of an expression", maxExpressionBytes).
			WithRemedy(`text stands in double quotes, as in vault.secret(name.key, "text")`)
	}
	if value, err := decode(raw); err != nil || nested(value) > maxDepth {
		return "", p.fail(from, "the default has more than %d lists and objects nested", maxDepth)
	}
	p.at = from + int(decoder.InputOffset())
	p.skipBlanks()
	var compact bytes.Buffer
	_ = json.Compact(&compact, raw) // it was decoded
	return compact.String(), nil
}

// part reads one part of a reference and the blanks around it.
func (p *parser) part(what string) (string, error) {
	p.skipBlanks()
	from := p.at
	if p.peek() == '"' {
		value, err := p.quoted()
		if err == nil && value == "" {
			err = p.fail(from, "expected %s, found empty quotes", what)
		}
		p.skipBlanks()
		return value, err
	}
	for p.at < len(p.source) && !isNotBare(rune(p.source[p.at])) {
		p.at++
	}
	value := p.source[from:p.at]
	if value == "" {
		return "", p.expected(what, remedyQuotes)
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

func (p *parser) accept(next byte, what, remedy string) error {
	p.skipBlanks()
	if p.peek() != next {
		return p.expected(what, remedy)
	}
	p.at++
	return nil
}

// expected is the error at a position with something else than what. At the end of the string it has no remedy.
func (p *parser) expected(what, remedy string) error {
	found := "the end of the string"
	if p.at < len(p.source) {
		character, _ := utf8.DecodeRuneInString(p.source[p.at:])
		found = fmt.Sprintf("%q", string(character))
	} else {
		remedy = ""
	}
	return p.fail(p.at, "expected %s, found %s after %q", what, found, bounded(p.source[p.start:p.at])).WithRemedy("%s", remedy)
}

func (p *parser) fail(at int, format string, args ...any) *fault.Fault {
	column := utf8.RuneCountInString(p.source[:at]) + 1
	return fault.Terminal(v1alpha1.ReasonInvalidExpression, "column %d: %s", column, fmt.Sprintf(format, args...))
}
