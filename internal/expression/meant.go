package expression

import (
	"slices"
	"strings"
)

// maxMeant is how many bytes a reference may have that a remedy offers: all of it, or it could not be copied.
const maxMeant = 160

const (
	remedyQuotes = `a part with other characters than letters, digits, "_", "-" and "/" stands in quotes`
	remedyNested = "a reference holds no other one: name secret and key"
)

// meant is the remedy for a character that no reference has at this place: the reference as it was probably meant, from
// the author's own text. Where something is missing in front of it, the placeholder stands for that.
func (p *parser) meant(placeholder string) string {
	if placeholder != "" && strings.IndexByte(".:,)", p.peek()) >= 0 {
		return withMeant("write one", p.reread(p.at, p.at, placeholder))
	}
	end := strings.IndexAny(p.source[p.at:], ".:,)")
	if end < 0 || p.partFrom > p.at {
		return remedyQuotes
	}
	end += p.at
	switch part := strings.TrimSpace(p.source[p.partFrom:end]); {
	case strings.Contains(part, "("):
		return remedyNested
	case part == "", strings.Contains(part, `"`):
		return remedyQuotes
	default:
		return withMeant(remedyQuotes, p.reread(p.partFrom, end, source(part)))
	}
}

// reread is the current reference with a piece of it replaced, in canonical form; empty if that is none, or too long to
// be offered.
func (p *parser) reread(from, to int, piece string) string {
	end := strings.IndexByte(p.source[to:], ')')
	if end < 0 || end > maxExpressionBytes {
		return ""
	}
	return canonical(p.source[p.start:from] + piece + p.source[to:to+end+1])
}

// canonical is the canonical form of a text that is one reference and nothing else, short enough to be offered.
func canonical(text string) string {
	parsed, err := (&parser{source: text, quiet: true}).text()
	if err != nil || len(parsed.parts) != 1 || !parsed.parts[0].isReference() {
		return ""
	}
	return parsed.parts[0].reference.Offered()
}

// Offered is String for a remedy; empty if it is too long for one.
func (r Reference) Offered() string {
	text := r.String()
	if len(text) > maxMeant {
		return ""
	}
	return text
}

// RemedyAbsent is the remedy for a field of the reference that is not there, by its number, or for the key: -1.
func (r Reference) RemedyAbsent(field int) string {
	with := r
	with.Default = `"…"`
	remedy := withMeant("correct it, write it to Vault, or give the reference a default", with.Offered())
	if field+1 >= len(r.Fields) {
		return remedy
	}
	// What seemed to be a name and a field of it may be one name with a dot in it.
	dotted := r
	if field < 0 {
		dotted.Key, dotted.Fields = r.Key+"."+r.Fields[0], r.Fields[1:]
	} else {
		name := r.Fields[field] + "." + r.Fields[field+1]
		dotted.Fields = slices.Replace(slices.Clone(r.Fields), field, field+2, name)
	}
	return remedy + "; " + withMeant("a name with a dot in it stands in quotes", dotted.Offered())
}

// withMeant is a rule, with what follows from it where that is known.
func withMeant(rule, meant string) string {
	if meant == "" {
		return rule
	}
	return rule + ": " + meant
}

// meantDefault is the remedy for a default that is no JSON.
func (p *parser) meantDefault(from int) string {
	if p.quiet {
		return ""
	}
	end := strings.IndexByte(p.source[from:], ')')
	if end < 0 {
		end = len(p.source) - from
	}
	raw := strings.TrimSpace(p.source[from : from+end])
	text := strings.Trim(raw, "'")
	switch {
	case raw == "":
		without := strings.TrimRight(p.source[p.start:from], " \t,") + ")"
		return withMeant("write one, or leave out the comma", canonical(without))
	case strings.IndexByte(`"[{`, raw[0]) >= 0:
		return "close its quotes, lists and objects, and escape quotes in text"
	}
	return withMeant("text stands in double quotes", p.reread(from, from+end, quote(text)))
}

// meantEnd is the remedy for what follows a reference that seems complete.
func (p *parser) meantEnd(reference Reference, from int) string {
	switch {
	case reference.Default != "":
		end := max(0, strings.IndexByte(p.source[p.at:], ')'))
		return withMeant("there is one default, and a list stands in brackets",
			p.reread(from, p.at+end, "["+p.source[from:p.at+end]+"]"))
	case reference.Whole:
		return withMeant("a key stands in place of the *, or all of the secret is meant", reference.Offered())
	}
	return p.meant("")
}

// meantFunction is the remedy for a function that there is not.
func (p *parser) meantFunction() string {
	const known = `known are vault.secret and vault.text; for literal text write vault.text("…")`
	end := strings.IndexByte(p.source[p.at:], ')')
	if end < 0 || p.quiet {
		return known
	}
	argument := p.source[p.at : p.at+end+1]
	reference := canonical(prefix + functionSecret + "(" + argument)
	literal := prefix + functionText + "(" + quote(p.source[p.start:p.at]+argument) + ")"
	if reference == "" || len(literal) > maxMeant {
		return known
	}
	return "write " + reference + ", or for literal text " + literal
}

// meantText is an example of literal text.
func (p *parser) meantText() string {
	end := strings.IndexByte(p.source[p.at:], ')')
	if end <= 0 || end > maxMeant || strings.Contains(p.source[p.at:p.at+end], `"`) {
		return `vault.text("…")`
	}
	return prefix + functionText + "(" + quote(p.source[p.at:p.at+end]) + ")"
}
