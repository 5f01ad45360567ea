package expression

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	prefix         = "vault."
	functionSecret = "secret"
	functionText   = "text"
)

// Parse parses a string. vault.secret( and vault.text( begin an expression anywhere, also right after a letter, so that
// app_vault.secret(user) is app_ and the user. Any other vault.name( at the beginning of a word is an error, not
// literal text: a misspelt reference must not become somebody's password. The error is a *fault.Fault with reason
// InvalidExpression, the expected token and its column, counted in characters from 1.
func Parse(s string) (Text, error) {
	p := parser{source: s}
	if at := invalidUTF8(s); at >= 0 {
		return Text{}, p.fail(at, "the string is not valid UTF-8")
	}
	return p.text()
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for at, r := range s {
		if _, size := utf8.DecodeRuneInString(s[at:]); r == utf8.RuneError && size == 1 {
			return at
		}
	}
	return -1
}

// parser reads the source once, from left to right.
type parser struct {
	source string
	// at is the position of the next byte.
	at int
	// start is the position of the current expression, partFrom that of the part of it that was begun last.
	start, partFrom int
	// quiet: its errors need no remedy.
	quiet bool
}

func (p *parser) text() (Text, error) {
	var text Text
	literalFrom, references := 0, 0
	for {
		found := strings.Index(p.source[p.at:], prefix)
		if found < 0 {
			return text.withLiteral(p.source[literalFrom:]), nil
		}
		p.start = p.at + found
		p.at = p.start + len(prefix)
		name, called := p.function()
		switch {
		case !called:
			continue
		case name == functionSecret || name == functionText:
			text = text.withLiteral(p.source[literalFrom:p.start])
			parsed, err := p.call(name)
			if err != nil {
				return Text{}, err
			}
			if parsed.isReference() {
				references++
			}
			if references > maxReferences {
				return Text{}, p.fail(p.start, "this is one reference too many; a string may hold %d", maxReferences)
			}
			text.parts = append(text.parts, parsed)
			literalFrom = p.at
		case p.beginsWord():
			return Text{}, p.fail(p.start, "unknown function %s", bounded(prefix+name)).
				WithRemedy("%s", p.meantFunction())
		}
	}
}

func (t Text) withLiteral(literal string) Text {
	if literal != "" {
		t.parts = append(t.parts, part{literal: literal})
	}
	return t
}

// function reads an identifier and an opening parenthesis. Without both it consumes nothing and returns false.
func (p *parser) function() (string, bool) {
	rest := p.source[p.at:]
	end := strings.IndexFunc(rest, func(r rune) bool { return !isWord(r) })
	if end <= 0 || rest[end] != '(' {
		return "", false
	}
	if first, _ := utf8.DecodeRuneInString(rest); unicode.IsDigit(first) {
		return "", false
	}
	p.at += end + len("(")
	return rest[:end], true
}

func (p *parser) beginsWord() bool {
	before, _ := utf8.DecodeLastRuneInString(p.source[:p.start])
	return p.start == 0 || !isWord(before)
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' }
