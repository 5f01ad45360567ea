package expression

import (
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

const (
	// maxDepth is the largest number of lists and objects nested under one key of a value.
	maxDepth = 64

	// maxReferences is the largest number of references in a string, and in a whole value. A volume has fewer files
	// than that.
	maxReferences = 1024
)

// treeParser makes nodes of decoded JSON. It notes a mistake and goes on, so that its error counts all of them.
type treeParser struct {
	first *fault.Fault
	wrong int
	// count of the references so far.
	count int
}

func (p *treeParser) note(err error, at *place) {
	if p.wrong++; p.wrong == 1 {
		p.first = in(err, at.noun(), bounded(at.String()))
	}
}

func (p *treeParser) err() error {
	switch p.wrong {
	case 0:
		return nil
	case 1:
		return p.first
	case 2:
		return p.first.AndMore("one more place is wrong")
	default:
		return p.first.AndMore("%d more places are wrong", p.wrong-1)
	}
}

func (p *treeParser) parse(value any, at *place, depth int) node {
	switch v := value.(type) {
	case string:
		return p.parseString(v, at)
	case []any:
		if p.tooDeep(at, depth) {
			return scalar{}
		}
		items := make(list, 0, len(v))
		for i, item := range v {
			items = append(items, p.parse(item, &place{parent: at, index: i, isItem: true}, depth+1))
		}
		return items
	case map[string]any:
		if p.tooDeep(at, depth) {
			return scalar{}
		}
		members := make(object, len(v))
		for _, key := range sortedKeys(v) {
			members[key] = p.parse(v[key], &place{parent: at, key: key}, depth+1)
		}
		return members
	default:
		return scalar{value: value}
	}
}

func (p *treeParser) parseString(s string, at *place) node {
	if !strings.Contains(s, prefix) {
		return scalar{value: s}
	}
	text, err := Parse(s)
	if err != nil {
		p.note(err, at)
		return scalar{}
	}
	references := len(text.References())
	if references == 0 {
		return scalar{value: text.literal()}
	}
	before := p.count
	p.count += references
	if p.count > maxReferences {
		if before <= maxReferences {
			p.note(fault.Terminal(v1alpha1.ReasonInvalidExpression,
				"with it the value holds more than %d references", maxReferences), at)
		}
		return scalar{}
	}
	return leaf{noun: at.noun(), place: at.String(), text: text}
}

func (p *treeParser) tooDeep(at *place, depth int) bool {
	if depth < maxDepth {
		return false
	}
	p.note(fault.Terminal(v1alpha1.ReasonInvalidSpec, "more than %d lists and objects are nested here", maxDepth), at)
	return true
}
