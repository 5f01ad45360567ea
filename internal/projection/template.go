package projection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	budget *workBudget
}

// parseTemplate parses and rewrites a template whose execution spends from the budget. Errors quote the template, which
// is no secret, and nothing else.
func parseTemplate(source string, budget *workBudget) (*fileTemplate, error) {
	if err := budget.spend(len(source) * parsePrice); err != nil {
		return nil, executionFault(err)
	}
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
	return &fileTemplate{parsed: parsed, budget: budget}, nil
}

// execute returns the output for a value that templateValue returned.
func (t *fileTemplate) execute(value any) ([]byte, error) {
	if t.parsed.Tree == nil {
		return nil, nil
	}
	data, _ := value.(map[string]any)
	content := &boundedBuffer{left: MaxContentBytes}
	t.budget.printed = content
	err := t.parsed.Execute(content, data)
	switch {
	case errors.Is(err, errUndecided), t.budget.checking && isFieldOfNoObject(err):
		if t.budget.showing {
			return nil, undecidedFault(err)
		}
		return nil, errUndecided
	case err != nil:
		return nil, executionFault(err)
	}
	return content.buffer.Bytes(), nil
}

// maxRendered is the work budget of a Renderer: its templates are small.
const maxRendered = 1 << 20

// Renderer executes templates that make no files, as many as there are with one work budget.
type Renderer struct{ budget *workBudget }

// NewRenderer returns a Renderer whose templates end with the context.
func NewRenderer(ctx context.Context) *Renderer {
	return &Renderer{&workBudget{left: maxRendered, interrupted: ctx.Err}}
}

// Render returns what a template makes of a value. With Unknown in the value it finds out what is wrong whatever stands
// there, as Layout.Check does.
func (r *Renderer) Render(source string, value map[string]any) (string, error) {
	r.budget.checking = containsUnknown(value)
	parsed, err := parseTemplate(source, r.budget)
	if err != nil {
		return "", err
	}
	content, err := parsed.execute(value)
	if errors.Is(err, errUndecided) {
		return "", nil
	}
	return string(content), err
}

// maxNumber is the longest number that templates take: a json.Number has methods, which read all of it at every call.
const maxNumber = 1000

// templateValue turns numbers into Go's integers, so that templates can compare and count them, in the value itself: it
// is as large as a volume, and what is written of it stays the same. Other numbers keep their digits.
func templateValue(value any) (any, error) {
	switch v := value.(type) {
	case json.Number:
		if len(v) > maxNumber {
			return nil, errFunction("a number has more than %d digits, which templates do not take", maxNumber)
		}
		number, err := strconv.ParseInt(string(v), 10, 64)
		if err == nil && strconv.FormatInt(number, 10) == string(v) {
			return number, nil
		}
	case []any:
		for i, item := range v {
			var err error
			if v[i], err = templateValue(item); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key, item := range v {
			own, err := templateValue(item)
			if err != nil {
				return nil, err
			}
			v[key] = own
		}
	}
	return value, nil
}

// maxNesting is how deep actions and parentheses of a template may be nested.
const maxNesting = 64

// rewriter walks over a parsed template. It rejects what is not for files, makes our function print every value, has
// loops pay for what they range over, and puts a charge before the body of every loop. The charge grows with the number
// of nodes and with what one node takes: names and numbers are read at every turn, and a variable is searched for among
// all of them.
type rewriter struct {
	problem   *fault.Fault
	variables int
	depth     int
}

// reject notes a problem, if it is the first.
func (r *rewriter) reject(line int, problem, remedy string) {
	if r.problem == nil {
		r.problem = fault.Terminal(v1alpha1.ReasonInvalidTemplate, "line %d: %s", line, problem).
			WithRemedy("%s", remedy)
	}
}

// deeper notes that what follows, until shallower is called, is nested one deeper.
func (r *rewriter) deeper(line int) {
	if r.depth++; r.depth > maxNesting {
		r.reject(line, fmt.Sprintf("more than %d actions and parentheses are nested here", maxNesting), "")
	}
}

func (r *rewriter) shallower() { r.depth-- }

// list rewrites the nodes of a list and returns their weight.
func (r *rewriter) list(list *parse.ListNode) int {
	if list == nil {
		return 0
	}
	nodes := 1
	for _, node := range list.Nodes {
		nodes += r.node(node)
	}
	return nodes
}

func (r *rewriter) node(node parse.Node) int {
	switch n := node.(type) {
	case *parse.ActionNode:
		nodes := r.pipe(n.Pipe)
		if len(n.Pipe.Decl) == 0 {
			n.Pipe.Cmds = append(n.Pipe.Cmds, call(n.Pos, functionPrint))
		}
		return nodes
	case *parse.IfNode:
		return r.branch(&n.BranchNode)
	case *parse.WithNode:
		return r.branch(&n.BranchNode)
	case *parse.RangeNode:
		r.deeper(n.Line)
		defer r.shallower()
		nodes := r.pipe(n.Pipe) + r.list(n.ElseList)
		n.Pipe = through(functionRange, n.Pipe)
		body := r.list(n.List)
		n.List.Nodes = append([]parse.Node{chargeNode(n, body)}, n.List.Nodes...)
		return nodes + body
	case *parse.BreakNode, *parse.ContinueNode: // these unwind the stack
		return maxNesting
	case *parse.TemplateNode:
		r.reject(n.Line, "it calls another template", remedyOneTemplate)
	}
	return 1
}

func (r *rewriter) branch(n *parse.BranchNode) int {
	r.deeper(n.Line)
	defer r.shallower()
	nodes := r.pipe(n.Pipe)
	n.Pipe = through(functionDecide, n.Pipe)
	return nodes + r.list(n.List) + r.list(n.ElseList)
}

// pipe rejects functions that are not offered, and has and or decide. It returns the weight of the nodes.
func (r *rewriter) pipe(pipe *parse.PipeNode) int {
	r.deeper(pipe.Line)
	defer r.shallower()
	nodes := 1
	var commands []*parse.CommandNode
	for i, command := range pipe.Cmds {
		for _, argument := range command.Args {
			nodes += r.argument(argument, pipe.Line)
		}
		function, isFunction := command.Args[0].(*parse.IdentifierNode)
		if isFunction && slices.Contains(builtins, function.Ident) {
			for j, argument := range command.Args[1:] {
				command.Args[j+1] = through(functionDecide, pipeOf(argument, pipe))
			}
			if i > 0 {
				commands = append(commands, call(command.Pos, functionDecide))
			}
		}
		commands = append(commands, command)
	}
	pipe.Cmds = commands
	r.variables += len(pipe.Decl)
	return nodes + len(pipe.Decl)*r.search()
}

// search is the weight of searching for a variable.
func (r *rewriter) search() int { return 1 + r.variables/8 }

func (r *rewriter) argument(node parse.Node, line int) int {
	switch n := node.(type) {
	case *parse.PipeNode:
		return r.pipe(n)
	case *parse.ChainNode:
		return r.argument(n.Node, line) + weight(n.Field...)
	case *parse.FieldNode:
		return weight(n.Ident...)
	case *parse.VariableNode:
		return r.search() + weight(n.Ident...)
	case *parse.NumberNode:
		return weight(n.Text)
	case *parse.IdentifierNode:
		if !offered(n.Ident) {
			r.reject(line, fmt.Sprintf("function %q is not offered", n.Ident), remedyFunctions)
		}
	}
	return 1
}

// weight of texts that are read whenever their node is evaluated.
func weight(texts ...string) int {
	nodes := 0
	for _, text := range texts {
		nodes += 1 + len(text)/nodePrice
	}
	return nodes
}

// through is a pipeline whose result goes through a function of ours.
func through(function string, pipe *parse.PipeNode) *parse.PipeNode {
	inner := &parse.PipeNode{NodeType: parse.NodePipe, Pos: pipe.Pos, Line: pipe.Line, Cmds: pipe.Cmds}
	return &parse.PipeNode{
		NodeType: parse.NodePipe, Pos: pipe.Pos, Line: pipe.Line, IsAssign: pipe.IsAssign, Decl: pipe.Decl,
		Cmds: []*parse.CommandNode{call(pipe.Pos, function, inner)},
	}
}

// pipeOf is a pipeline of one argument.
func pipeOf(argument parse.Node, in *parse.PipeNode) *parse.PipeNode {
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: argument.Position(), Args: []parse.Node{argument}}
	return &parse.PipeNode{
		NodeType: parse.NodePipe, Pos: argument.Position(), Line: in.Line, Cmds: []*parse.CommandNode{command},
	}
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
