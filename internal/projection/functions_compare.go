package projection

import (
	"errors"
	"strconv"
	"strings"
	"text/template"
)

// numbers are the functions on whole numbers.
func (f functions) numbers() template.FuncMap {
	return template.FuncMap{
		"add": func(a, b any) (int64, error) { return f.sum(a, b, 1) },
		"sub": func(a, b any) (int64, error) { return f.sum(a, b, -1) },
		"int": f.integer,
	}
}

// comparisons are the functions that compare two values.
func (f functions) comparisons() template.FuncMap {
	ordered := func(holds func(int) bool) func(a, b any) (bool, error) {
		return func(a, b any) (bool, error) {
			order, err := f.compare(a, b)
			return err == nil && holds(order), err
		}
	}
	return template.FuncMap{
		"eq": f.equal,
		"ne": func(a, b any) (bool, error) {
			equal, err := f.equal(a, b)
			return !equal, err
		},
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
