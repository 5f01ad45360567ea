package projection

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Templates come from users whom the resolver, which serves every tenant, does not trust: not with its memory, not with its time, and
// not with what the environment, the network or a file could tell. Package text/template reaches none of these by itself, but
// it can loop without an end and without a sound. So every turn of a loop and every function pays from one budget: see meter.

// maxTemplateError bounds what is quoted of a message of the template parser.
const maxTemplateError = 200

// fileTemplate is a parsed template.
type fileTemplate struct {
	parsed *template.Template
}

// parseTemplate parses and checks a template, whose execution will be paid from meter. Errors quote the template, which is no
// secret, and nothing else.
func parseTemplate(source string, meter *meter) (*fileTemplate, error) {
	parsed, err := template.New("t").Option("missingkey=error").Funcs(functions(meter)).Parse(source)
	if err != nil {
		return nil, parseFault(err)
	}
	inspector := inspector{tree: parsed.Tree}
	if len(parsed.Templates()) > 1 {
		inspector.refuse(1, "it defines another template; one file is one template")
	}
	if parsed.Tree != nil { // nil for a template of nothing but comments and definitions
		inspector.list(parsed.Root)
	}
	if inspector.problem != nil {
		return nil, inspector.problem
	}
	return &fileTemplate{parsed: parsed}, nil
}

var parseMessage = regexp.MustCompile(`^template: t:(\d+):(?:\d+:)? (.*)$`)

func parseFault(err error) error {
	line, message := "1", "it cannot be parsed"
	if found := parseMessage.FindStringSubmatch(oneLine(err)); found != nil {
		line, message = found[1], found[2]
	}
	if len(message) > maxTemplateError {
		message = strings.ToValidUTF8(message[:maxTemplateError], "") + "…"
	}
	if strings.HasPrefix(message, "function ") {
		message += "; the reference of Connections lists the functions"
	}
	return fault.Terminal(v1alpha1.ReasonInvalidTemplate, "line %s: %s", line, message)
}

// oneLine is the error's text as a sentence can hold it.
func oneLine(err error) string {
	return strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", " "), "\uFFFD")
}

// execute returns what the template makes of a value.
func (t *fileTemplate) execute(value map[string]any) ([]byte, error) {
	if t.parsed.Tree == nil {
		return nil, nil
	}
	data, _ := templateValue(value).(map[string]any)
	content := &limited{left: MaxContentBytes}
	if err := t.parsed.Execute(content, data); err != nil {
		return nil, executionFault(err)
	}
	return content.buffer.Bytes(), nil
}

// executionMessage is how text/template writes errors: the place, the piece of the template that failed, and what went wrong. The last may
// quote a value, so it is never passed on.
var executionMessage = regexp.MustCompile(`^template: t:(\d+):\d+: executing "t" at <(.*?)>: (.*)$`)

func executionFault(err error) error {
	if errors.Is(err, errTooLarge) {
		return fault.Waiting(v1alpha1.ReasonTooLarge, "it has more than %d bytes; a volume holds no more", MaxContentBytes)
	}
	line, piece, message := "1", "", ""
	if found := executionMessage.FindStringSubmatch(oneLine(err)); found != nil {
		line, piece, message = found[1], " "+bounded(found[2])+":", found[3]
	}
	if strings.HasPrefix(piece, " "+functionToll) { // which the author did not write
		piece = ""
	}
	// Vault's content may be at fault as well as the template, so this is looked at again.
	wrong := func(problem string) error {
		return fault.Waiting(v1alpha1.ReasonInvalidTemplate, "line %s:%s %s", line, piece, problem)
	}
	if own, ok := errors.AsType[*functionError](err); ok {
		return wrong(own.sentence)
	}
	switch {
	case strings.HasPrefix(message, "map has no entry for key"):
		return wrong("there is no such key; hasKey tells whether there is one")
	case strings.HasPrefix(message, "can't evaluate field"), strings.HasPrefix(message, "nil pointer"), strings.HasPrefix(message, "nil data"):
		return wrong("there is no such key, for what should hold it is not an object")
	case strings.HasPrefix(message, "wrong number of args"):
		return wrong("the function takes another number of arguments")
	case strings.HasPrefix(message, "range can't iterate"):
		return wrong("range needs a list, an object or an integer")
	}
	return wrong("this cannot be evaluated with the value as it is; look at the types")
}

// templateValue returns a copy in which integers are Go's, so that templates can compare and count them. Other numbers keep their digits.
func templateValue(value any) any {
	switch v := value.(type) {
	case json.Number:
		if number, err := strconv.ParseInt(string(v), 10, 64); err == nil && strconv.FormatInt(number, 10) == string(v) {
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

// inspector walks over a parsed template, refuses what is not for files, has every printed value pass through the function text, and puts
// a toll before the body of every loop.
type inspector struct {
	tree    *parse.Tree
	problem error
}

func (i *inspector) refuse(line int, format string, args ...any) {
	if i.problem == nil {
		i.problem = fault.Terminal(v1alpha1.ReasonInvalidTemplate, "line %d: %s", line, fmt.Sprintf(format, args...))
	}
}

// list returns the number of nodes in it.
func (i *inspector) list(list *parse.ListNode) int {
	if list == nil {
		return 0
	}
	nodes := 1
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			nodes += i.pipe(n.Pipe)
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, call(n.Pos, functionText))
			}
		case *parse.IfNode:
			nodes += i.branch(&n.BranchNode)
		case *parse.WithNode:
			nodes += i.branch(&n.BranchNode)
		case *parse.RangeNode:
			nodes += i.pipe(n.Pipe) + i.list(n.ElseList)
			body := i.list(n.List)
			n.List.Nodes = append([]parse.Node{toll(n, body)}, n.List.Nodes...)
			nodes += body
		case *parse.TemplateNode:
			i.refuse(n.Line, "it calls another template; one file is one template")
		default:
			nodes++
		}
	}
	return nodes
}

func (i *inspector) branch(n *parse.BranchNode) int {
	return i.pipe(n.Pipe) + i.list(n.List) + i.list(n.ElseList)
}

// pipe looks for functions that text/template brings and that are not offered.
func (i *inspector) pipe(pipe *parse.PipeNode) int {
	nodes := 1
	for _, command := range pipe.Cmds {
		for _, argument := range command.Args {
			nodes += i.argument(argument, pipe.Line)
		}
	}
	return nodes
}

func (i *inspector) argument(node parse.Node, line int) int {
	switch n := node.(type) {
	case *parse.PipeNode:
		return i.pipe(n)
	case *parse.ChainNode:
		return 1 + i.argument(n.Node, line)
	case *parse.IdentifierNode:
		if !offered(n.Ident) {
			i.refuse(line, "function %q is not offered; the reference of Connections lists the functions", n.Ident)
		}
	}
	return 1
}

func call(at parse.Pos, function string, arguments ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: at,
		Args: append([]parse.Node{parse.NewIdentifier(function).SetPos(at)}, arguments...),
	}
}

// toll is an action that prints nothing and pays for one turn of the loop.
func toll(loop *parse.RangeNode, nodes int) parse.Node {
	price := int64(nodes)
	return &parse.ActionNode{
		NodeType: parse.NodeAction, Pos: loop.Pos, Line: loop.Line,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: loop.Pos, Line: loop.Line, Cmds: []*parse.CommandNode{
			call(loop.Pos, functionToll, &parse.NumberNode{NodeType: parse.NodeNumber, Pos: loop.Pos, IsInt: true, Int64: price, Text: strconv.Itoa(nodes)}),
		}},
	}
}
