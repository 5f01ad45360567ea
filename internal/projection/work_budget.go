package projection

import (
	"encoding/json"
	"errors"
	"slices"
)

const (
	// maxWork is the work budget of the templates of one volume, in units of about a byte that is read, copied or held,
	// or 20 ns. It takes well under a second, and no honest template comes near it.
	maxWork = 32 << 20
	// maxStep is the most that a template may do between two looks at the request's deadline: less than 100 ms.
	maxStep = maxWork / 8
	// nodePrice is the price of evaluating one node of a loop's body, and of one item of a list.
	nodePrice = 16
	// keyPrice is the price of one key of an object that is written or ranged over: keys are sorted each time. It is
	// also that of one item of a list that is made, which takes memory.
	keyPrice = 64
	// objectPrice is the price of an object that is made: so much memory takes the smallest.
	objectPrice = 320
	// parsePrice is the price of parsing one byte.
	parsePrice = 4
)

// workBudget is the work that the templates of one volume may still do. It is spent before the work is done. It counts
// instead of looking at a clock, so that the same template and value always have the same result, unless the request
// ends first: that is looked at with every charge.
type workBudget struct {
	left int
	// interrupted returns an error when the request has ended. It may be nil.
	interrupted func() error
	// checking: the value holds Unknown in the places of values, and none itself.
	checking bool
	// showing: a Mask stands for each of them, and is printed.
	showing bool
	// printed is what the template under way has made so far.
	printed *boundedBuffer
	// printedUnknown: the text that was printed lacks some of what the real one has, after its first known bytes.
	printedUnknown bool
	known          int
}

// noteUnknown notes, in a check, that something would be printed here of which nothing is known.
func (b *workBudget) noteUnknown() {
	if b.printedUnknown {
		return
	}
	b.printedUnknown, b.known = true, 0
	if b.printed != nil {
		b.known = b.printed.buffer.Len()
	}
}

func (b *workBudget) spend(units int) error {
	if b.interrupted != nil {
		if err := b.interrupted(); err != nil {
			return err
		}
	}
	if units > maxStep {
		return &functionError{problem: "this does too much work at once", remedy: "give it less"}
	}
	if b.left -= units; b.left < 0 {
		return &functionError{problem: "the templates of this Connection do too much work", remedy: "loop over less"}
	}
	return nil
}

// charge spends on one turn of a loop whose body has this many nodes. It is a function of templates, so it returns a
// text to print: none.
func (b *workBudget) charge(nodes int) (string, error) { return "", b.spend((nodes + 1) * nodePrice) }

// spendOnText spends on a text that a function makes, before it makes it where its length is known.
func (b *workBudget) spendOnText(length int) error {
	if length > MaxContentBytes {
		return errFunction("this makes a text of more than %d bytes; a volume holds no more", MaxContentBytes)
	}
	return b.spend(length)
}

// spendOnValue spends on reading all of a value, times a factor.
func (b *workBudget) spendOnValue(value any, times int) error {
	return b.spend(size(value, maxStep) * times)
}

// spendOnKeys spends on sorting the keys of an object.
func (b *workBudget) spendOnKeys(object map[string]any) error {
	if len(object) > maxStep/keyPrice {
		return b.spend(maxStep + 1)
	}
	units := 0
	for key := range object {
		units += keyPrice + len(key)
	}
	return b.spend(units)
}

// size returns the price of reading all of a value. It stops beyond the limit.
func size(value any, limit int) int {
	switch v := value.(type) {
	case string:
		return len(v)
	case json.Number:
		return len(v)
	case []any:
		units := nodePrice
		for _, item := range v {
			if units > limit {
				break
			}
			units += size(item, limit-units) + nodePrice
		}
		return units
	case map[string]any:
		units := nodePrice
		for key, item := range v {
			if units > limit {
				break
			}
			units += size(item, limit-units) + len(key) + keyPrice
		}
		return units
	}
	return nodePrice
}

// Unknown stands in a value for what only Vault knows. A Connection's check runs templates with it in place of every
// reference, so that what the check says cannot depend on a value.
type Unknown struct{}

// String says that there is nothing to print.
func (Unknown) String() string { return "unknown" }

// Mask is an Unknown with a text that is shown in its place.
type Mask string

func isUnknown(value any) bool {
	switch value.(type) {
	case Unknown, Mask:
		return true
	}
	return false
}

// unmasked returns a copy of a value with the text of each Mask in its place; false if there is an Unknown without one.
func unmasked(value any) (any, bool) {
	switch v := value.(type) {
	case Unknown:
		return nil, false
	case Mask:
		return string(v), true
	case []any:
		items, all := make([]any, len(v)), true
		for i, item := range v {
			text, has := unmasked(item)
			items[i], all = text, all && has
		}
		return items, all
	case map[string]any:
		members, all := make(map[string]any, len(v)), true
		for key, item := range v {
			text, has := unmasked(item)
			members[key], all = text, all && has
		}
		return members, all
	}
	return value, true
}

// errUndecided ends a check where the template's way depends on a value.
var errUndecided = errors.New("depends on a value")

// holdsUnknown tells whether there is an Unknown in one of the values, in a check; elsewhere there is none.
func (b *workBudget) holdsUnknown(values ...any) bool {
	return b.checking && slices.ContainsFunc(values, containsUnknown)
}
