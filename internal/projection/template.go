package projection

import (
	"encoding/json"
	"strconv"
	"text/template"
)

// fileTemplate is a parsed template. Templates come from users whom the resolver, which serves every tenant, does not
// trust: not with its memory, not with its time, not with what the environment, the network or a file holds. Package
// text/template reaches none of these by itself, but it can loop without an end and without output. So every turn of a
// loop and every function spends from one work budget.
type fileTemplate struct {
	parsed *template.Template
}

// parseTemplate parses and rewrites a template whose execution spends from the budget. Errors quote the template, which
// is no secret, and nothing else.
func parseTemplate(source string, budget *workBudget) (*fileTemplate, error) {
	parsed, err := template.New("t").Option("missingkey=error").Funcs(functions{budget}.byName()).Parse(source)
	if err != nil {
		return nil, parseFault(err)
	}
	var rewriter rewriter
	if len(parsed.Templates()) > 1 {
		rewriter.reject(1, "it defines another template", remedyOneTemplate)
	}
	if parsed.Tree != nil { // nil for a template of nothing but comments and definitions
		rewriter.list(parsed.Root)
	}
	if rewriter.problem != nil {
		return nil, rewriter.problem
	}
	return &fileTemplate{parsed: parsed}, nil
}

// execute returns the output for a value.
func (t *fileTemplate) execute(value map[string]any) ([]byte, error) {
	if t.parsed.Tree == nil {
		return nil, nil
	}
	data, _ := templateValue(value).(map[string]any)
	content := &boundedBuffer{left: MaxContentBytes}
	if err := t.parsed.Execute(content, data); err != nil {
		return nil, executionFault(err)
	}
	return content.buffer.Bytes(), nil
}

// templateValue returns a copy with Go's integers, so that templates can compare and count them. Other numbers keep
// their digits.
func templateValue(value any) any {
	switch v := value.(type) {
	case json.Number:
		number, err := strconv.ParseInt(string(v), 10, 64)
		if err == nil && strconv.FormatInt(number, 10) == string(v) {
			return number
		}
		return v
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = templateValue(item)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key, item := range v {
			object[key] = templateValue(item)
		}
		return object
	}
	return value
}
