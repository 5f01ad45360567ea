package projection

import (
	"encoding/json"
	"strconv"
	"strings"
)

// output prints the result of an action. In a check, nothing stands where a value would. Where files are shown, a Mask
// does, and what was computed from one ends the template.
func (f functions) output(value any) (string, error) {
	if !f.budget.holdsUnknown(value) {
		return f.text(value)
	}
	f.budget.noteUnknown()
	if !f.budget.showing {
		return "", nil
	}
	shown, all := unmasked(value)
	if !all {
		return "", errUndecided
	}
	return f.text(shown)
}

// text prints a value: strings as they are, nothing for null, everything else as JSON.
func (f functions) text(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", f.budget.spend(nodePrice)
	case string:
		return v, f.budget.spend(len(v))
	case json.Number:
		return string(v), f.budget.spend(len(v))
	case int64:
		return strconv.FormatInt(v, 10), f.budget.spend(nodePrice)
	case int:
		return strconv.Itoa(v), f.budget.spend(nodePrice)
	case float64: // a constant in the template
		return strconv.FormatFloat(v, 'g', -1, 64), f.budget.spend(nodePrice)
	}
	if err := f.budget.spendOnValue(value, 1); err != nil {
		return "", err
	}
	written, err := compactJSON(value)
	if err != nil {
		return "", errJSON()
	}
	return string(written), nil
}

// errJSON is the error of a value that is not written as JSON.
func errJSON() error {
	return errFunction("this cannot be written as JSON, or has more than %d bytes", MaxContentBytes)
}

// texts is text for several values.
func (f functions) texts(values ...any) ([]string, error) {
	texts := make([]string, len(values))
	for i, value := range values {
		var err error
		if texts[i], err = f.text(value); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// printf is that of package fmt with the verbs whose result is bounded: %s, %v, %q and %d without widths.
func (f functions) printf(first any, values ...any) (string, error) {
	var text strings.Builder
	format, err := f.text(first)
	if err != nil {
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
		written, err := f.text(values[0])
		if err != nil {
			return "", err
		}
		if verb[0] == 'q' {
			if written, err = f.encoded(written, quote); err != nil {
				return "", err
			}
		}
		if err := f.budget.spendOnText(text.Len() + len(written)); err != nil {
			return "", err
		}
		text.WriteString(written)
		values = values[1:]
	}
	if len(values) > 0 {
		return "", errFunction("printf has more values than verbs")
	}
	return text.String(), nil
}

// print puts texts side by side, with nothing between them.
func (f functions) print(first any, others ...any) (string, error) {
	texts, err := f.texts(append([]any{first}, others...)...)
	if err != nil {
		return "", err
	}
	return f.join("", texts)
}

func (f functions) join(separator string, texts []string) (string, error) {
	length := len(separator) * len(texts)
	for _, text := range texts {
		length += len(text)
	}
	if err := f.budget.spendOnText(length); err != nil {
		return "", err
	}
	return strings.Join(texts, separator), nil
}
