package projection

import (
	"encoding/json"
	"fmt"
	"strconv"
)

const (
	// maxWork is what the templates of one volume may spend: a unit is about a byte that is read, copied or held. It takes well under a
	// second, and no honest template comes near it.
	maxWork = 32 << 20
	// nodePrice is what evaluating one node of a loop's body costs.
	nodePrice = 16
)

// functionError is what a function of a template says. Its sentence holds nothing of what the function was given.
type functionError struct{ sentence string }

// Error returns the sentence.
func (e *functionError) Error() string { return e.sentence }

func errFunction(format string, args ...any) error {
	return &functionError{fmt.Sprintf(format, args...)}
}

// meter is what the templates of one volume may still spend. It counts and does not look at a clock: the same template and value must
// always come to the same end.
type meter struct{ left int }

func (m *meter) pay(units int) error {
	if m.left -= units; m.left < 0 {
		return errFunction("the templates of this Connection do too much work; loop over less")
	}
	return nil
}

// toll pays for one turn of a loop whose body has so many nodes. It prints nothing.
func (m *meter) toll(nodes int) (string, error) { return "", m.pay((nodes + 1) * nodePrice) }

// text is how a template prints a value: strings as they are, and whatever else as JSON. The string is paid for.
func (m *meter) text(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, m.pay(len(v))
	case json.Number:
		return string(v), m.pay(len(v))
	case int64:
		return strconv.FormatInt(v, 10), m.pay(nodePrice)
	case int:
		return strconv.Itoa(v), m.pay(nodePrice)
	case float64: // a constant in the template
		return strconv.FormatFloat(v, 'g', -1, 64), m.pay(nodePrice)
	}
	written, err := compact(value)
	if err != nil {
		return "", errFunction("this cannot be written as JSON")
	}
	return string(written), m.pay(len(written))
}

// texts is text for several values.
func (m *meter) texts(values ...any) ([]string, error) {
	texts := make([]string, len(values))
	for i, value := range values {
		var err error
		if texts[i], err = m.text(value); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// made pays for a string that a function makes, before it makes it where its length can be told.
func (m *meter) made(length int) error {
	if length > MaxContentBytes {
		return errFunction("this makes a text of more than %d bytes; a volume holds no more", MaxContentBytes)
	}
	return m.pay(length)
}
