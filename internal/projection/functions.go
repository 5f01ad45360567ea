package projection

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// The functions of templates are a list of our own. Libraries such as sprig and sprout offer many times as many, among them ones that tell
// the time, that make random texts and that repeat a text a billion times: unchanged secrets would make changed files, and a template
// could use up the memory of the resolver. These here give the same answer to the same question, always, pay for their work, and
// their errors hold nothing of what they were given. Where sprig has a function of the same name, it means the same.

const (
	functionText = "text"
	functionToll = "sallyport_toll"
)

// builtins are the functions of text/template that are safe as they are. The others are replaced or refused.
var builtins = []string{"and", "or", "not", "len"}

// offered tells whether a template may use the function.
func offered(name string) bool {
	if name == functionToll {
		return false
	}
	_, own := functions(nil)[name]
	return own || slices.Contains(builtins, name)
}

// functions are those that pay from the meter.
func functions(m *meter) template.FuncMap {
	all := template.FuncMap{
		functionText: m.text,
		functionToll: m.toll,
		"add":        func(a, b any) (int64, error) { return m.sum(a, b, 1) },
		"sub":        func(a, b any) (int64, error) { return m.sum(a, b, -1) },
		"int":        m.integer,
		"date":       m.date,
		"default":    defaultTo,
		"print":      m.print,
		"printf":     m.printf,
		"hasKey":     hasKey,
		"index":      m.index,
		"keys":       m.keys,
	}
	maps.Copy(all, m.comparisons())
	maps.Copy(all, m.stringFunctions())
	maps.Copy(all, m.encodings())
	return all
}

func (m *meter) comparisons() template.FuncMap {
	ordered := func(holds func(int) bool) func(a, b any) (bool, error) {
		return func(a, b any) (bool, error) {
			order, err := m.compare(a, b)
			return err == nil && holds(order), err
		}
	}
	return template.FuncMap{
		"eq": m.equal,
		"ne": func(a, b any) (bool, error) {
			equal, err := m.equal(a, b)
			return !equal, err
		},
		"lt": ordered(func(order int) bool { return order < 0 }),
		"le": ordered(func(order int) bool { return order <= 0 }),
		"gt": ordered(func(order int) bool { return order > 0 }),
		"ge": ordered(func(order int) bool { return order >= 0 }),
	}
}

// equal compares as JSON does: 1 is not "1".
func (m *meter) equal(a any, others ...any) (bool, error) {
	first, err := m.text(a)
	if err != nil {
		return false, err
	}
	for _, other := range others {
		text, err := m.text(other)
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

func (m *meter) compare(a, b any) (int, error) {
	texts, err := m.texts(a, b)
	if err != nil {
		return 0, err
	}
	if isString(a) && isString(b) {
		return strings.Compare(texts[0], texts[1]), nil
	}
	x, errX := m.integer(a)
	y, errY := m.integer(b)
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

func (m *meter) integer(value any) (int64, error) {
	text, err := m.text(value)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errFunction("this is not an integer")
	}
	return number, nil
}

func (m *meter) sum(a, b any, sign int64) (int64, error) {
	x, err := m.integer(a)
	if err != nil {
		return 0, err
	}
	y, err := m.integer(b)
	return x + sign*y, err
}

// defaultTo returns the value, or the other if it is empty: null, "", false, 0, or without members.
func defaultTo(other, value any) any {
	if truth, ok := template.IsTrue(value); ok && truth {
		return value
	}
	return other
}

func hasKey(object any, key string) (bool, error) {
	members, ok := object.(map[string]any)
	if !ok {
		return false, errFunction("hasKey needs an object")
	}
	_, found := members[key]
	return found, nil
}

// index follows keys and numbers into a value. Unlike text/template's own it never makes up what is not there.
func (m *meter) index(value any, path ...any) (any, error) {
	for _, step := range path {
		switch v := value.(type) {
		case map[string]any:
			key, err := m.text(step)
			if err != nil {
				return nil, err
			}
			var found bool
			if value, found = v[key]; !found {
				return nil, errFunction("there is no such key; hasKey tells whether there is one")
			}
		case []any:
			number, err := m.integer(step)
			if err != nil {
				return nil, err
			}
			if number < 0 || number >= int64(len(v)) {
				return nil, errFunction("the list has %d items, and this is not the number of one; they are counted from 0", len(v))
			}
			value = v[number]
		default:
			return nil, errFunction("index needs an object or a list")
		}
	}
	return value, nil
}

func (m *meter) keys(object any) ([]any, error) {
	members, ok := object.(map[string]any)
	if !ok {
		return nil, errFunction("keys needs an object")
	}
	if err := m.pay(len(members) * nodePrice); err != nil {
		return nil, err
	}
	keys := make([]any, 0, len(members))
	for _, key := range sortedKeys(members) {
		keys = append(keys, key)
	}
	return keys, nil
}

// date writes a moment in UTC in a layout of Go's package time. The moment is an RFC 3339 time or the seconds since 1970.
func (m *meter) date(layout string, moment any) (string, error) {
	text, err := m.text(moment)
	if err != nil {
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
	return when.UTC().Format(layout), m.pay(len(layout))
}

// printf is the one of package fmt with the verbs that have a bounded result: %s, %v, %q and %d without widths.
func (m *meter) printf(format string, values ...any) (string, error) {
	var text strings.Builder
	if err := m.pay(len(format)); err != nil {
		return "", err
	}
	for {
		before, verb, found := strings.Cut(format, "%")
		text.WriteString(before)
		if !found {
			break
		}
		if verb == "" || !strings.ContainsAny(verb[:1], "%svqd") {
			return "", errFunction("printf knows %%s, %%v, %%d, %%q and %%%%, without widths")
		}
		format = verb[1:]
		if verb[0] == '%' {
			text.WriteByte('%')
			continue
		}
		if len(values) == 0 {
			return "", errFunction("printf needs a value for each verb")
		}
		written, err := m.text(values[0])
		if err != nil {
			return "", err
		}
		if verb[0] == 'q' {
			if written, err = quote(written); err != nil {
				return "", err
			}
		}
		text.WriteString(written)
		if err := m.made(text.Len()); err != nil {
			return "", err
		}
		values = values[1:]
	}
	if len(values) > 0 {
		return "", errFunction("printf has more values than verbs")
	}
	return text.String(), nil
}

// print puts texts side by side, with nothing between them.
func (m *meter) print(values ...any) (string, error) {
	texts, err := m.texts(values...)
	if err != nil {
		return "", err
	}
	return m.join("", texts)
}

func (m *meter) join(separator string, texts []string) (string, error) {
	length := len(separator) * len(texts)
	for _, text := range texts {
		length += len(text)
	}
	if err := m.made(length); err != nil {
		return "", err
	}
	return strings.Join(texts, separator), nil
}
