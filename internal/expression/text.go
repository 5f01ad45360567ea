package expression

import (
	"context"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Lookup returns the value of a reference: a JSON value of nil, bool, string, json.Number, []any or map[string]any. Its
// result is copied, so it may be shared. Fields and Default of the reference are not its business, except that it
// returns an error that is Absent where there is a default. It may answer with Opaque or Optional.
type Lookup func(Reference) (any, error)

// Opaque is an answer of a Lookup that stands for a value which is not known: text into which no fields lead.
type Opaque string

// Optional is a value that is null where it is absent, or what fields of it lead to.
type Optional struct{ Value any }

// Text is a parsed string: literal parts and references in their order. The zero Text is the empty string.
type Text struct {
	parts []part
}

// part is a reference, or a literal where the reference is the zero one.
type part struct {
	literal   string
	reference Reference
}

func (p part) isReference() bool { return p.reference.Key != "" || p.reference.Whole }

// References returns the references in the order of the text, repeated ones as often as they occur.
func (t Text) References() []Reference {
	var references []Reference
	for _, p := range t.parts {
		if p.isReference() {
			references = append(references, p.reference)
		}
	}
	return references
}

// literal returns the literal parts alone.
func (t Text) literal() string {
	var text strings.Builder
	for _, p := range t.parts {
		text.WriteString(p.literal)
	}
	return text.String()
}

// Mask returns the text with mask's answer in the place of each reference, where there are no values.
func (t Text) Mask(mask func(Reference) string) string {
	var text strings.Builder
	for _, p := range t.parts {
		if p.isReference() {
			text.WriteString(mask(p.reference))
			continue
		}
		text.WriteString(p.literal)
	}
	return text.String()
}

// Evaluate replaces the references by their values. A text that is one reference and nothing else keeps the value's
// JSON type. Any other is a string: strings as they are, other values as compact JSON. An empty vault.text("") beside a
// reference counts as something else, so it makes a string of a number.
func (t Text) Evaluate(ctx context.Context, lookup Lookup) (any, error) {
	return t.evaluate(lookup, newCopier(ctx))
}

func (t Text) evaluate(lookup Lookup, copies *copier) (any, error) {
	if len(t.parts) == 1 && t.parts[0].isReference() {
		return find(lookup, t.parts[0].reference, copies)
	}
	var text strings.Builder
	for _, p := range t.parts {
		if !p.isReference() {
			text.WriteString(p.literal)
			continue
		}
		value, err := find(lookup, p.reference, copies)
		if err != nil {
			return nil, err
		}
		written, err := asText(value)
		if err == nil && !isText(value) {
			err = copies.take(len(written)) // escapes take up to six times as many bytes as the value
		}
		if err != nil {
			return nil, fault.In(err, "%s", bounded(p.reference.String()))
		}
		text.WriteString(written)
	}
	return text.String(), nil
}

// find looks one reference up and copies the value that its fields lead to, or the default of what is absent.
func find(lookup Lookup, reference Reference, copies *copier) (any, error) {
	value, err := lookup(reference)
	optional, isOptional := value.(Optional)
	if isOptional {
		value = optional.Value
	}
	if err == nil {
		value, err = copies.follow(value, reference)
	}
	switch {
	case err == nil:
	case fault.Absent(err) && reference.Default != "":
		value, err = decode([]byte(reference.Default))
	case fault.Absent(err) && isOptional:
		value, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	own, err := copies.copy(value)
	if err != nil {
		return nil, fault.In(err, "%s", bounded(reference.String()))
	}
	return own, nil
}

func isText(value any) bool {
	_, is := value.(string)
	return is
}

// asText returns a value as part of a string: nothing for null. The encoder's error is left out, because it may quote
// the value.
func asText(value any) (string, error) {
	if value == nil {
		return "", nil
	}
	if text, ok := value.(string); ok {
		return text, nil
	}
	text, err := compactJSON(value)
	if err != nil {
		return "", fault.Transient(v1alpha1.ReasonInternal, "the value cannot be written as JSON")
	}
	return text, nil
}
