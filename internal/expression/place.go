package expression

import (
	"slices"
	"strconv"
	"strings"

	"sallyport.dev/sallyport/internal/fault"
)

// place is the position of a node in a value. It is a chain, and becomes text only for a reference or an error: the
// texts of all places of a hostile value with long keys would fill the memory.
type place struct {
	parent *place
	// file is the path of the file with this text, in place of a position in value; such a place has no parent.
	file string
	// key of an object's member; unused if the place is a list's item.
	key string
	// index of a list's item.
	index  int
	isItem bool
}

// noun is the kind of place, in errors.
func (p *place) noun() string {
	if p.file != "" {
		return nounFile
	}
	return nounKey
}

const (
	nounKey  = "key"
	nounFile = "file"
)

// String returns the place in the syntax of Placed.
func (p *place) String() string {
	if p.file != "" {
		return bounded(p.file)
	}
	var chain []*place
	for at := p; at != nil; at = at.parent {
		chain = append(chain, at)
	}
	var text strings.Builder
	for _, c := range slices.Backward(chain) {
		c.write(&text)
	}
	return text.String()
}

func (p *place) write(to *strings.Builder) {
	notSimple := func(r rune) bool { return !isSimple(r) }
	switch {
	case p.isItem:
		to.WriteString("[" + strconv.Itoa(p.index) + "]")
	case p.key == "" || strings.IndexFunc(p.key, notSimple) >= 0:
		to.WriteString("[" + quote(bounded(p.key)) + "]")
	case p.parent == nil:
		to.WriteString(bounded(p.key))
	default:
		to.WriteString("." + bounded(p.key))
	}
}

// in puts a place in front of an error, in quotes unless it has quotes of its own: key ["tls.crt"].
func in(err error, noun, place string) *fault.Fault {
	if noun == nounKey && strings.Contains(place, `"`) {
		return fault.InField(err, "%s %s", noun, place)
	}
	return fault.InField(err, "%s %q", noun, place)
}
