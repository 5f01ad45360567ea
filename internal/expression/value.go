package expression

import (
	"context"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxCandidates is the largest number of keys that an error offers in place of an unknown one.
const maxCandidates = 10

// Value is a parsed spec.value: a JSON object with references in its strings. It is immutable, so it can be shared.
type Value struct {
	nodes map[string]node
}

// Placed is a reference and its place.
type Placed struct {
	// Place is the path of the string from the top of the value: password, nested.list[2].x, a["b.c"]. It is for
	// people: a key of more than 80 characters is shortened.
	Place string
	// Reference at that place.
	Reference Reference

	noun string
}

// In puts the place in front of an error, as in: key "nested.list[2].x": …
func (p Placed) In(err error) *fault.Fault { return in(err, p.noun, p.Place) }

// ParseValue parses the strings of a value, at any depth; the keys of objects are not scanned. The error is a
// *fault.Fault with the first wrong place, in the order of References, and the number of further ones.
func ParseValue(value map[string]apiextensionsv1.JSON) (*Value, error) {
	parsed := &Value{nodes: make(map[string]node, len(value))}
	var tree treeParser
	for _, key := range sortedKeys(value) {
		at := &place{key: key}
		decoded, err := decode(value[key].Raw)
		if err != nil {
			tree.note(fault.Terminal(v1alpha1.ReasonInvalidSpec, "%v", err), at)
			continue
		}
		parsed.nodes[key] = tree.parse(decoded, at, 0)
	}
	if err := tree.err(); err != nil {
		return nil, err
	}
	return parsed, nil
}

// ParseTexts parses strings outside of value: the texts of files, by the files' paths. They are parsed and evaluated
// like the keys of a value; errors say file in place of key.
func ParseTexts(texts map[string]string) (*Value, error) {
	parsed := &Value{nodes: make(map[string]node, len(texts))}
	var tree treeParser
	for _, path := range sortedKeys(texts) {
		parsed.nodes[path] = tree.parseString(texts[path], &place{file: path})
	}
	if err := tree.err(); err != nil {
		return nil, err
	}
	return parsed, nil
}

// References returns every reference with its place, in the order of the places: keys sorted at each level, items of
// lists by their number, references within a string from left to right.
func (v *Value) References() []Placed {
	var references []Placed
	for _, key := range v.Keys() {
		references = v.nodes[key].references(references)
	}
	return references
}

// ReferencesOf returns the references below one key of the top level.
func (v *Value) ReferencesOf(key string) []Placed {
	if node, found := v.nodes[key]; found {
		return node.references(nil)
	}
	return nil
}

// Keys returns the keys of the top level, sorted.
func (v *Value) Keys() []string { return sortedKeys(v.nodes) }

// WithOverrides returns a value with the given keys of the top level replaced by strings. These are literal, never
// scanned, and the references in the replaced keys are gone. It never adds a key: one that does not exist is an error.
func (v *Value) WithOverrides(overrides map[string]string) (*Value, error) {
	if len(overrides) == 0 {
		return v, nil
	}
	nodes := maps.Clone(v.nodes)
	for _, key := range sortedKeys(overrides) {
		if _, exists := nodes[key]; !exists {
			return nil, fault.Terminal(v1alpha1.ReasonUnknownOverride, "%s%s overrides a key that value does not have",
				v1alpha1.AttributeValuePrefix, bounded(source(key))).WithRemedy("%s", v.candidates())
		}
		nodes[key] = scalar{value: overrides[key]}
	}
	return &Value{nodes: nodes}, nil
}

// With returns a value with further keys at the top level, each with what a reference leads to. A key that is there
// already stays as it is.
func (v *Value) With(references map[string]Reference) *Value {
	if len(references) == 0 {
		return v
	}
	nodes := maps.Clone(v.nodes)
	for key, reference := range references {
		if _, exists := nodes[key]; !exists {
			at := &place{key: key}
			nodes[key] = leaf{noun: at.noun(), place: at.String(), text: Text{parts: []part{{reference: reference}}}}
		}
	}
	return &Value{nodes: nodes}
}

// candidates is the remedy for an unknown key: the known ones.
func (v *Value) candidates() string {
	keys := v.Keys()
	if len(keys) == 0 {
		return "it has none"
	}
	listed := make([]string, 0, maxCandidates)
	for _, key := range keys[:min(len(keys), maxCandidates)] {
		listed = append(listed, bounded(source(key)))
	}
	if len(keys) > maxCandidates {
		listed = append(listed, "…")
	}
	return "it has " + strings.Join(listed, ", ")
}

// Evaluate returns the value with the references replaced by the results of lookup, which are never scanned. The result
// shares nothing with them, down to the last list. An error of lookup is returned with the place in front. It stops
// when the context ends.
func (v *Value) Evaluate(ctx context.Context, lookup Lookup) (map[string]any, error) {
	copies := newCopier(ctx)
	result := make(map[string]any, len(v.nodes))
	for _, key := range v.Keys() {
		value, err := v.nodes[key].evaluate(lookup, copies)
		if err != nil {
			return nil, err
		}
		result[key] = value
	}
	return result, nil
}

// Outline returns the value with unknown's answer in the place of every string that holds a reference: what is known of
// it whatever Vault holds.
func (v *Value) Outline(unknown func(Text) any) map[string]any {
	result := make(map[string]any, len(v.nodes))
	for key, node := range v.nodes {
		result[key] = node.outline(unknown)
	}
	return result
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
