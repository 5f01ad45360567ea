package migrate

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fields reads a part of an object and remembers what was looked at, so that rest can report what was not.
type fields struct {
	m *migration
	// object and at say where this is.
	object, at string
	content    map[string]any
	seen       map[string]bool
	parts      []*fields
}

// opened is an object of the input, with its spec.
type opened struct {
	*fields
	key
	source *unstructured.Unstructured
}

// open reads the spec of an object.
func (m *migration) open(object *unstructured.Unstructured) *opened {
	all := &fields{m: m, object: called(object), content: object.Object, seen: map[string]bool{}}
	return &opened{all.part("spec"), key{object.GetNamespace(), object.GetName()}, object}
}

// nothing are fields of an object of which none is set.
func (m *migration) nothing(o *opened) *fields {
	return &fields{m: m, object: o.object, seen: map[string]bool{}}
}

func (f *fields) field(name string) string {
	if f.at == "" {
		return name
	}
	return f.at + "." + name
}

// note writes a line of the report about a field; about this part, if the name is empty.
func (f *fields) note(severity Severity, name, sentence string, args ...any) {
	at := f.at
	if name != "" {
		at = f.field(name)
	}
	f.m.note(severity, f.object, at, sentence, args...)
}

// value takes a field; nil if it is not set.
func (f *fields) value(name string) any {
	f.seen[name] = true
	return f.content[name]
}

// isSet tells whether a field says something.
func (f *fields) isSet(name string) bool { return !empty(f.content[name]) }

func empty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// take takes a field of a type.
func take[T any](f *fields, name, kind string) T {
	value := f.value(name)
	typed, is := value.(T)
	if value != nil && !is {
		f.note(NoEqual, name, "it must be %s and is not, so that it was left out; correct the manifest", kind)
	}
	return typed
}

func (f *fields) text(name string) string { return take[string](f, name, "a text") }
func (f *fields) truth(name string) bool  { return take[bool](f, name, "true or false") }

// number takes a whole number, which YAML, JSON and the API server's client decode differently.
func (f *fields) number(name string) int64 {
	switch v := f.value(name).(type) {
	case nil:
	case int64:
		return v
	case float64:
		return int64(v)
	default:
		f.note(NoEqual, name, "it must be a number and is not, so that it was left out; correct the manifest")
	}
	return 0
}

func (f *fields) texts(name string) []string {
	var texts []string
	for _, item := range take[[]any](f, name, "a list") {
		if text, is := item.(string); is {
			texts = append(texts, text)
		}
	}
	return texts
}

// part takes an object; an empty one if it is not set.
func (f *fields) part(name string) *fields {
	return f.below(f.field(name), take[map[string]any](f, name, "an object"))
}

// list takes a list of objects.
func (f *fields) list(name string) []*fields {
	var items []*fields
	for i, item := range take[[]any](f, name, "a list") {
		content, is := item.(map[string]any)
		at := fmt.Sprintf("%s[%d]", f.field(name), i)
		if !is {
			f.m.note(NoEqual, f.object, at, "it must be an object and is not, so that it was left out; correct the manifest")
			continue
		}
		items = append(items, f.below(at, content))
	}
	return items
}

// below opens a part, each once, so that what was looked at is known.
func (f *fields) below(at string, content map[string]any) *fields {
	for _, part := range f.parts {
		if part.at == at {
			return part
		}
	}
	part := &fields{m: f.m, object: f.object, at: at, content: content, seen: map[string]bool{}}
	f.parts = append(f.parts, part)
	return part
}

// noEqual reports a field, if it is set.
func (f *fields) noEqual(name, sentence string, args ...any) {
	if f.isSet(name) {
		f.note(NoEqual, name, sentence, args...)
	}
	f.seen[name] = true
}

// fileMode is the mode of a file as the API has it, which takes these decimal numbers for slips. Without the right of
// others to write, which no volume gives, they are none.
func fileMode(mode int64) *int32 {
	if slices.Contains([]int64{400, 404, 440, 444}, mode) {
		mode &^= 0o022
	}
	return new(int32(mode) & 0o7777) //nolint:gosec // bounded by the mask
}

// differs reports a field, if it is set.
func (f *fields) differs(name, sentence string) {
	if f.isSet(name) {
		f.note(Differs, name, "%s", sentence)
	}
	f.seen[name] = true
}

// needless passes over fields without a use in Sallyport, whose loss nobody notices.
func (f *fields) needless(names ...string) {
	for _, name := range names {
		f.seen[name] = true
	}
}

// rest reports each field that nobody looked at.
func (f *fields) rest() {
	for _, name := range slices.Sorted(maps.Keys(f.content)) {
		if !f.seen[name] && f.isSet(name) {
			f.note(NoEqual, name, "this command does not know the field, so that it was left out; look what it is for")
		}
	}
	for _, part := range f.parts {
		part.rest()
	}
}
