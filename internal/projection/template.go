package projection

import (
	"encoding/json"
	"fmt"
	"strconv"
	"text/template"
	"text/template/parse"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
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

// rewriter walks over a parsed template. It rejects what is not for files, makes the function text print every value,
// and puts a charge before the body of every loop.
type rewriter struct {
	problem *fault.Fault
}

// reject notes a problem, if it is the first.
func (r *rewriter) reject(line int, problem, remedy string) {
	if r.problem == nil {
		r.problem = fault.Terminal(v1alpha1.ReasonInvalidTemplate, "line %d: %s", line, problem).
			WithRemedy("%s", remedy)
	}
}

// list rewrites the nodes of a list and returns their number.
func (r *rewriter) list(list *parse.ListNode) int {
	if list == nil {
		return 0
	}
	nodes := 1
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			nodes += r.pipe(n.Pipe)
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, call(n.Pos, functionText))
			}
		case *parse.IfNode:
			nodes += r.branch(&n.BranchNode)
		case *parse.WithNode:
			nodes += r.branch(&n.BranchNode)
		case *parse.RangeNode:
			nodes += r.pipe(n.Pipe) + r.list(n.ElseList)
			body := r.list(n.List)
			n.List.Nodes = append([]parse.Node{chargeNode(n, body)}, n.List.Nodes...)
			nodes += body
		case *parse.TemplateNode:
			r.reject(n.Line, "it calls another template", remedyOneTemplate)
		default:
			nodes++
		}
	}
	return nodes
}

func (r *rewriter) branch(n *parse.BranchNode) int {
	return r.pipe(n.Pipe) + r.list(n.List) + r.list(n.ElseList)
}

// pipe rejects functions of text/template that are not offered. It returns the number of nodes.
func (r *rewriter) pipe(pipe *parse.PipeNode) int {
	nodes := 1
	for _, command := range pipe.Cmds {
		for _, argument := range command.Args {
			nodes += r.argument(argument, pipe.Line)
		}
	}
	return nodes
}

func (r *rewriter) argument(node parse.Node, line int) int {
	switch n := node.(type) {
	case *parse.PipeNode:
		return r.pipe(n)
	case *parse.ChainNode:
		return 1 + r.argument(n.Node, line)
	case *parse.IdentifierNode:
		if !offered(n.Ident) {
			r.reject(line, fmt.Sprintf("function %q is not offered", n.Ident), remedyFunctions)
		}
	}
	return 1
}

// call is a command that calls a function.
func call(at parse.Pos, function string, arguments ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: at,
		Args: append([]parse.Node{parse.NewIdentifier(function).SetPos(at)}, arguments...),
	}
}

// chargeNode is an action that spends on one turn of the loop and prints nothing.
func chargeNode(loop *parse.RangeNode, nodes int) parse.Node {
	number := &parse.NumberNode{
		NodeType: parse.NodeNumber, Pos: loop.Pos, IsInt: true, Int64: int64(nodes), Text: strconv.Itoa(nodes),
	}
	return &parse.ActionNode{
		NodeType: parse.NodeAction, Pos: loop.Pos, Line: loop.Line,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: loop.Pos, Line: loop.Line, Cmds: []*parse.CommandNode{
			call(loop.Pos, functionCharge, number),
		}},
	}
}
