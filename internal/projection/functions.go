package projection

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// functions are those that a template may call: a list of our own, and none of a library. Libraries such as sprig and
// sprout offer many times as many, among them ones for the time, random texts and a text repeated a billion times:
// unchanged secrets would make changed files, and a template could use up the memory of the resolver. These have the
// same result for the same arguments, spend on their work, and their errors hold nothing of their arguments. A function
// with a name of sprig's means the same as there.
type functions struct{ budget *workBudget }

// Functions that the rewriter puts into templates. No author can call them. The names are short, because errors quote
// twenty characters of what failed.
const (
	functionPrint  = "_p" // prints the result of an action
	functionCharge = "_c" // spends on a turn of a loop
	functionRange  = "_r" // spends on what is ranged over
	functionDecide = "_d" // ends a check where the template's way depends on a value
)

// functionError is the error of a function. Its sentence holds nothing of the function's arguments.
type functionError struct{ problem, remedy string }

// Error returns the problem.
func (e *functionError) Error() string { return e.problem }

func errFunction(format string, args ...any) error {
	return &functionError{problem: fmt.Sprintf(format, args...)}
}

// builtins are the functions of text/template that are safe as they are, and that it alone can offer: they evaluate no
// more arguments than they need. The others are replaced or refused.
var builtins = []string{"and", "or"}

// offered tells whether a template may call the function.
func offered(name string) bool {
	if strings.HasPrefix(name, "_") {
		return false
	}
	_, own := functions{}.byName()[name]
	return own || slices.Contains(builtins, name)
}

// byName returns our functions by the names that templates call them.
func (f functions) byName() template.FuncMap {
	all := template.FuncMap{
		functionPrint:  f.output,
		functionCharge: f.budget.charge,
		functionRange:  f.iterate,
		functionDecide: decide,
		"text":         unaryText(f, f.text),
		"date":         binary(f, f.date),
		"default":      f.orDefault,
		"print":        variadicText(f, f.print),
		"printf":       variadicText(f, f.printf),
		"hasKey":       f.hasKey,
		"index":        f.index,
		"keys":         f.keys,
		"len":          length,
		"not":          unary(f, not),
	}
	maps.Copy(all, f.numbers())
	maps.Copy(all, f.comparisons())
	maps.Copy(all, f.stringFunctions())
	maps.Copy(all, f.encodings())
	return all
}

// decide passes on what decides about the template's way.
func decide(value any) (any, error) {
	if isUnknown(value) {
		return nil, errUndecided
	}
	return value, nil
}

// iterate passes on what is ranged over, once its keys are paid for, which text/template sorts before the first turn.
func (f functions) iterate(value any) (any, error) {
	switch v := value.(type) {
	case nil, int, int64, []any:
		return v, nil
	case map[string]any:
		return v, f.budget.spendOnKeys(v)
	case Unknown, Mask:
		return nil, errUndecided
	}
	return nil, errFunction("range needs a list, an object or an integer")
}

func not(value any) (bool, error) {
	truth, _ := template.IsTrue(value)
	return !truth, nil
}

func length(value any) (any, error) {
	switch v := value.(type) {
	case Unknown, Mask:
		return Unknown{}, nil
	case string:
		return len(v), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	return 0, errFunction("len needs a list, an object or a text")
}

// defaultTo returns the value, or the other if it is empty: null, "", false, 0, or without members.
func defaultTo(other, value any) (any, error) {
	if truth, ok := template.IsTrue(value); ok && truth {
		return value, nil
	}
	return other, nil
}

func (f functions) hasKey(object, key any) (any, error) {
	if isUnknown(object) || isUnknown(key) {
		return Unknown{}, nil
	}
	members, ok := object.(map[string]any)
	if !ok {
		return false, errFunction("hasKey needs an object")
	}
	name, err := f.text(key)
	if err != nil {
		return false, err
	}
	_, found := members[name]
	return found, nil
}

// index follows keys and numbers into a value. Unlike text/template's own it fails on a missing key.
func (f functions) index(value any, path ...any) (any, error) {
	for _, step := range path {
		if isUnknown(step) {
			return Unknown{}, nil
		}
		switch v := value.(type) {
		case Unknown, Mask:
			return Unknown{}, nil
		case map[string]any:
			key, err := f.text(step)
			if err != nil {
				return nil, err
			}
			var found bool
			if value, found = v[key]; !found {
				return nil, &functionError{problem: "there is no such key", remedy: remedyNoSuchKey}
			}
		case []any:
			number, err := f.integer(step)
			if err != nil {
				return nil, err
			}
			if number < 0 || number >= int64(len(v)) {
				return nil, errFunction("the list has %d items, and this is not the number of one; they are counted from 0",
					len(v))
			}
			value = v[number]
		default:
			return nil, errFunction("index needs an object or a list")
		}
	}
	return value, nil
}

func (f functions) keys(object any) (any, error) {
	if isUnknown(object) {
		return Unknown{}, nil
	}
	members, ok := object.(map[string]any)
	if !ok {
		return nil, errFunction("keys needs an object")
	}
	if err := f.budget.spendOnKeys(members); err != nil {
		return nil, err
	}
	keys := make([]any, 0, len(members))
	for _, key := range sortedKeys(members) {
		keys = append(keys, key)
	}
	return keys, nil
}

// date writes a moment in UTC in a layout of Go's package time. The moment is an RFC 3339 time or the seconds since
// 1970.
func (f functions) date(layout, moment any) (string, error) {
	texts, err := f.texts(layout, moment)
	if err != nil {
		return "", err
	}
	form, text := texts[0], texts[1]
	// A year may have twelve digits where the layout has four.
	if err := f.budget.spendOnText(len(form) * len("292277026596") / len("2006")); err != nil {
		return "", err
	}
	when, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "", errFunction("this is neither a time as in RFC 3339 nor a number of seconds")
		}
		when = time.Unix(seconds, 0)
	}
	return when.UTC().Format(form), nil
}

// numbers are the functions on whole numbers.
func (f functions) numbers() template.FuncMap {
	return template.FuncMap{
		"add": binary(f, func(a, b any) (int64, error) { return f.sum(a, b, 1) }),
		"sub": binary(f, func(a, b any) (int64, error) { return f.sum(a, b, -1) }),
		"int": unary(f, f.integer),
	}
}

// comparisons are the functions that compare two values.
func (f functions) comparisons() template.FuncMap {
	ordered := func(holds func(int) bool) func(a, b any) (any, error) {
		return binary(f, func(a, b any) (bool, error) {
			order, err := f.compare(a, b)
			return err == nil && holds(order), err
		})
	}
	return template.FuncMap{
		"eq": variadic(f, f.equal),
		"ne": binary(f, func(a, b any) (bool, error) {
			equal, err := f.equal(a, b)
			return !equal, err
		}),
		"lt": ordered(func(order int) bool { return order < 0 }),
		"le": ordered(func(order int) bool { return order <= 0 }),
		"gt": ordered(func(order int) bool { return order > 0 }),
		"ge": ordered(func(order int) bool { return order >= 0 }),
	}
}

// equal compares as JSON does: 1 is not "1".
func (f functions) equal(a any, others ...any) (bool, error) {
	first, err := f.text(a)
	if err != nil {
		return false, err
	}
	for _, other := range others {
		text, err := f.text(other)
		if err != nil {
			return false, err
		}
		if isString(a) == isString(other) && first == text {
			return true, nil
		}
	}
	return false, nil
}

func isString(value any) bool {
	_, is := value.(string)
	return is
}

// compare orders two strings or two integers.
func (f functions) compare(a, b any) (int, error) {
	texts, err := f.texts(a, b)
	if err != nil {
		return 0, err
	}
	if isString(a) && isString(b) {
		return strings.Compare(texts[0], texts[1]), nil
	}
	x, errX := f.integer(a)
	y, errY := f.integer(b)
	if isString(a) != isString(b) || errors.Join(errX, errY) != nil {
		return 0, errFunction("only two strings or two integers can be compared")
	}
	switch {
	case x < y:
		return -1, nil
	case x > y:
		return 1, nil
	}
	return 0, nil
}

func (f functions) integer(value any) (int64, error) {
	text, err := f.text(value)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errFunction("this is not an integer")
	}
	return number, nil
}

func (f functions) sum(a, b any, sign int64) (int64, error) {
	x, err := f.integer(a)
	if err != nil {
		return 0, err
	}
	y, err := f.integer(b)
	return x + sign*y, err
}
