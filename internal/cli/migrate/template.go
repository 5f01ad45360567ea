package migrate

import (
	"errors"
	"slices"
	"text/template/parse"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/projection"
)

// rewriting changes a template into what Sallyport would have in its place, and tells whether it changed anything. A
// problem is what it cannot.
type rewriting func(root parse.Node) (changed bool, problem string)

// translated looks whether Sallyport takes a template, with its own parser of templates, and returns the text. A
// function of a name that both have means the same; others are renamed. Values are the keys that a template is given;
// nil if that is not known.
func translated(f *fields, field, text string, values []string, rewrite rewriting) (string, bool) {
	root := parsed(text)
	if root == nil {
		f.note(NoEqual, field, "it is no template that Go can parse; correct the manifest")
		return "", false
	}
	changed, problem := rewrite(root)
	if problem != "" {
		f.note(NoEqual, field, "%s; write the file by hand, with files[].template of the Connection", problem)
		return "", false
	}
	if changed {
		text = root.String()
	}
	for _, name := range takes(text) {
		if values != nil && !slices.Contains(values, name) {
			f.note(NoEqual, field, "the template takes %q, which nothing in the manifest reads from Vault; add it there, and migrate again", name)
			return "", false
		}
	}
	spec := &v1alpha1.ConnectionSpec{Type: "x", Files: []v1alpha1.ConnectionFile{{Path: "x", Template: text}}}
	if _, err := projection.NewLayout(spec, nil); err != nil {
		problem := err.Error()
		if found, is := errors.AsType[*fault.Fault](err); is {
			problem = found.Problem
		}
		f.note(NoEqual, field, "Sallyport's templates cannot do that: %s; write the file by hand, with files[].template of the Connection", problem)
		return "", false
	}
	return text, true
}

// parsed is the root of a template with whatever functions; nil if it is none.
func parsed(text string) parse.Node {
	tree := parse.New("t")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", map[string]*parse.Tree{}); err != nil {
		return nil
	}
	return tree.Root
}

// renaming gives functions the names that Sallyport has for them.
func renaming(functions map[string]string) rewriting {
	return func(root parse.Node) (changed bool, problem string) {
		visit(root, func(node parse.Node) {
			if of, is := node.(*parse.IdentifierNode); is && functions[of.Ident] != "" {
				of.Ident, changed = functions[of.Ident], true
			}
		})
		return changed, ""
	}
}

// sprig are the functions that Sallyport calls otherwise than sprig. All others have the same names.
var sprig = renaming(map[string]string{"toString": "text"})

// ofSecrets rewrites templates of the Vault Secrets Operator, whose keys are in .Secrets, to take them from the value
// itself.
func ofSecrets(root parse.Node) (changed bool, problem string) {
	changed, _ = sprig(root)
	visit(root, func(node parse.Node) {
		switch n := node.(type) {
		case *parse.CommandNode:
			if len(n.Args) == 3 && n.Args[0].String() == "get" && n.Args[1].String() == ".Secrets" {
				n.Args[0], n.Args[1], changed = parse.NewIdentifier("index"), &parse.DotNode{NodeType: parse.NodeDot}, true
			}
			if len(n.Args) == 3 && n.Args[0].String() == "index" && n.Args[1].String() == ".Secrets" {
				n.Args[1], changed = &parse.DotNode{NodeType: parse.NodeDot}, true
			}
		case *parse.FieldNode:
			switch {
			case n.Ident[0] == "Secrets" && len(n.Ident) > 1:
				n.Ident, changed = n.Ident[1:], true
			case n.Ident[0] == "Secrets":
				problem = "a template of all keys at once has no equal, for a reference names its key"
			default:
				problem = "." + n.Ident[0] + " is not there in Sallyport's templates, which are given values only"
			}
		}
	})
	return changed, problem
}

// takes are the keys of its value that a template names.
func takes(template any) []string {
	text, _ := template.(string)
	root := parsed(text)
	if root == nil {
		return nil
	}
	var keys []string
	visit(root, func(node parse.Node) {
		switch n := node.(type) {
		case *parse.FieldNode:
			keys = append(keys, n.Ident[0])
		case *parse.CommandNode:
			if len(n.Args) < 3 || n.Args[0].String() != "index" || n.Args[1].String() != "." {
				return
			}
			if literal, is := n.Args[2].(*parse.StringNode); is {
				keys = append(keys, literal.Text)
			}
		}
	})
	return keys
}

// visit calls a function for each node of a template, for those above first.
func visit(node parse.Node, do func(parse.Node)) {
	do(node)
	list := func(nodes *parse.ListNode) {
		if nodes != nil {
			for _, n := range nodes.Nodes {
				visit(n, do)
			}
		}
	}
	branch := func(of *parse.BranchNode) {
		visit(of.Pipe, do)
		list(of.List)
		list(of.ElseList)
	}
	switch n := node.(type) {
	case *parse.ListNode:
		list(n)
	case *parse.ActionNode:
		visit(n.Pipe, do)
	case *parse.PipeNode:
		for _, command := range n.Cmds {
			visit(command, do)
		}
	case *parse.CommandNode:
		for _, argument := range n.Args {
			visit(argument, do)
		}
	case *parse.ChainNode:
		visit(n.Node, do)
	case *parse.IfNode:
		branch(&n.BranchNode)
	case *parse.RangeNode:
		branch(&n.BranchNode)
	case *parse.WithNode:
		branch(&n.BranchNode)
	}
}
