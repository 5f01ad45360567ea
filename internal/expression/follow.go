package expression

import (
	"strconv"
	"strings"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/heap"
)

// MaxParsedJSON is the most memory that JSON takes which secrets hold as text and fields lead into, for one evaluation.
// Each text is parsed once, whatever the number of references into it.
const MaxParsedJSON = 4 << 20

// follow returns the value that the fields of a reference lead to. Text that holds a list or an object as JSON is taken
// for that. Errors name fields, which the author wrote, and never what is there instead.
func (c *copier) follow(value any, reference Reference) (any, error) {
	if _, unknown := value.(Opaque); unknown {
		return value, nil
	}
	for i, field := range reference.Fields {
		if text, isText := value.(string); isText {
			var err error
			if value, err = c.parse(text); err != nil {
				return nil, fault.In(err, "%s: %s", bounded(reference.String()), bounded(reference.upTo(i)))
			}
		}
		item, problem := member(value, field)
		if problem != nil && problem.Absent {
			problem = problem.WithRemedy("%s", reference.RemedyAbsent(i))
		}
		if problem != nil {
			return nil, fault.In(problem, "%s: %s", bounded(reference.String()), bounded(reference.upTo(i)))
		}
		value = item
	}
	return value, nil
}

// member returns one field of a value.
func member(value any, field string) (any, *fault.Fault) {
	var item any
	var found bool
	switch v := value.(type) {
	case nil: // nothing is in there
	case map[string]any:
		item, found = v[field]
	case []any:
		number, err := strconv.ParseUint(field, 10, 31)
		if err != nil || field != strconv.FormatUint(number, 10) {
			return nil, notStructured("it is a list, in which %q is nothing", bounded(field)).
				WithRemedy("its items have numbers, from 0 on")
		}
		if found = number < uint64(len(v)); found {
			item = v[number]
		}
	default:
		return nil, notStructured("it is a single value, in which nothing can be called %q", bounded(field)).WithRemedy(remedyWhole)
	}
	if !found {
		return nil, fault.Waiting(v1alpha1.ReasonKeyMissing, "it has no field %q", bounded(field)).WithAbsent()
	}
	return item, nil
}

const remedyWhole = "refer to all of it, or keep an object or a list there"

// parse returns the list or the object that a text holds as JSON.
func (c *copier) parse(text string) (any, error) {
	if value, known := c.parsed[text]; known {
		return value, nil
	}
	if err := c.interrupted(); err != nil {
		return nil, err
	}
	notJSON := notStructured("it is text that holds no JSON object or list").WithRemedy(remedyWhole)
	if !MayBeJSON(text) {
		return nil, notJSON
	}
	if c.parsedSize += heap.OfJSON([]byte(text), MaxParsedJSON+1); c.parsedSize > MaxParsedJSON {
		return nil, fault.Waiting(v1alpha1.ReasonTooLarge,
			"with it the JSON that references lead into takes more than %d MiB of memory", MaxParsedJSON>>20).
			WithRemedy("keep it in Vault as an object and not as text, or in several keys")
	}
	value, err := decode([]byte(text))
	if err != nil || nested(value) > maxDepth {
		return nil, notJSON
	}
	if c.parsed == nil {
		c.parsed = map[string]any{}
	}
	c.parsed[text] = value
	return value, nil
}

// MayBeJSON tells whether a text begins as a list or an object does, which fields of references may lead into.
func MayBeJSON(text string) bool {
	begin := strings.TrimLeft(text, " \t\r\n")
	return begin != "" && (begin[0] == '{' || begin[0] == '[')
}

// nested is how many lists and objects are nested in a value.
func nested(value any) int {
	deepest := 0
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			deepest = max(deepest, nested(item))
		}
	case map[string]any:
		for _, item := range v {
			deepest = max(deepest, nested(item))
		}
	default:
		return 0
	}
	return deepest + 1
}

// notStructured is the fault of fields that lead into what has none.
func notStructured(format string, args ...any) *fault.Fault {
	return fault.Waiting(v1alpha1.ReasonNotStructured, format, args...)
}
