package migrate

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// agentTemplate translates a template of Vault's agent. There a secret is read by an action and is then the dot; with
// Sallyport the value has all secrets, and the template takes from it. So each "with secret" gives way to its content,
// in which every field is looked up in the value.
type agentTemplate struct {
	f         *fields
	field     string
	b         *bundle
	config    string
	variables map[string]*agentSecret
	problem   string
	// text is the file as a text with references, plain whether that is all of it.
	text  strings.Builder
	plain bool
	// value is what the template is given otherwise: an object for each secret.
	value map[string]any
}

// agentSecret is a secret that a template reads.
type agentSecret struct {
	name string
	// certificate: it was read by pkiCert, which has names of its own for what Vault answers.
	certificate bool
}

// agentFunctions are those that Sallyport calls otherwise.
var agentFunctions = renaming(map[string]string{
	"toJSON": "toJson", "toJSONPretty": "toJson", "toYAML": "toYaml", "parseJSON": "fromJson",
	"base64Encode": "b64enc", "base64Decode": "b64dec", "toLower": "lower", "toUpper": "upper", "trimSpace": "trim",
	"replaceAll": "replace", "split": "splitList", "toString": "text",
	"sprig_quote": "quote", "sprig_b64enc": "b64enc", "sprig_b64dec": "b64dec", "sprig_toString": "text",
})

// translate makes the content of a file of the template.
func (t *agentTemplate) translate(text string, into *file) bool {
	root, is := parsed(text).(*parse.ListNode)
	if !is || root == nil {
		t.f.note(NoEqual, t.field, "it is no template that Go can parse; correct the manifest")
		return false
	}
	t.plain, t.value = true, map[string]any{}
	root.Nodes = t.list(root, nil)
	if t.problem != "" {
		t.f.note(NoEqual, t.field, "%s; write the file by hand, with files[].template of the Connection", t.problem)
		return false
	}
	if t.plain && t.text.Len() > 0 {
		into.text = t.text.String()
		return true
	}
	for name, keys := range t.value {
		members, _ := keys.(map[string]any)
		maps.Copy(t.b.within(name), members)
	}
	made, ok := translated(t.f, t.field, root.String(), nil, agentFunctions)
	into.template = made
	return ok && made != ""
}

func (t *agentTemplate) fail(format string, args ...any) {
	if t.problem == "" {
		t.problem = fmt.Sprintf(format, args...)
	}
}

// list returns the nodes in the place of a list's.
func (t *agentTemplate) list(of *parse.ListNode, dot *agentSecret) []parse.Node {
	if of == nil {
		return nil
	}
	var nodes []parse.Node
	for _, node := range of.Nodes {
		switch n := node.(type) {
		case *parse.WithNode:
			secret := t.read(n.Pipe)
			if secret == nil || n.ElseList != nil {
				t.fail("a with that is not one secret (%s) has no equal", n.Pipe)
				return nil
			}
			for _, variable := range n.Pipe.Decl {
				t.variables[variable.Ident[0]] = secret
			}
			nodes = append(nodes, t.list(n.List, secret)...)
		case *parse.TextNode:
			t.text.WriteString(literal(string(n.Text)))
			nodes = append(nodes, n)
		case *parse.ActionNode:
			t.action(n, dot)
			nodes = append(nodes, n)
		case *parse.IfNode:
			t.plain = false
			t.pipe(n.Pipe, dot)
			n.List.Nodes = t.list(n.List, dot)
			if n.ElseList != nil {
				n.ElseList.Nodes = t.list(n.ElseList, dot)
			}
			nodes = append(nodes, n)
		case *parse.CommentNode:
		default:
			t.fail("%s has no equal, for a reference names its key", strings.SplitN(node.String(), "}}", 2)[0]+"}}")
			return nil
		}
	}
	return nodes
}

// action rewrites what an action prints, and keeps it as a reference if it is that alone.
func (t *agentTemplate) action(n *parse.ActionNode, dot *agentSecret) {
	if secret := t.read(n.Pipe); secret != nil && len(n.Pipe.Decl) == 1 {
		t.variables[n.Pipe.Decl[0].Ident[0]] = secret
		t.fail("a variable for a secret (%s) has no equal: use with", n.Pipe)
		return
	}
	if len(n.Pipe.Cmds) == 1 && len(n.Pipe.Decl) == 0 {
		if secret, key, rest := t.lookedUp(n.Pipe.Cmds[0], dot); secret != nil && len(rest) == 0 {
			t.text.WriteString(reference(secret.name, key))
			n.Pipe.Cmds = []*parse.CommandNode{{NodeType: parse.NodeCommand, Args: []parse.Node{t.inValue(secret, key, nil)}}}
			return
		}
	}
	t.plain = false
	t.pipe(n.Pipe, dot)
}

// pipe rewrites every field of a pipeline.
func (t *agentTemplate) pipe(of *parse.PipeNode, dot *agentSecret) {
	for _, command := range of.Cmds {
		if secret, key, rest := t.lookedUp(command, dot); secret != nil {
			command.Args = []parse.Node{t.inValue(secret, key, rest)}
			continue
		}
		for i, argument := range command.Args {
			switch n := argument.(type) {
			case *parse.PipeNode:
				t.pipe(n, dot)
			case *parse.FieldNode, *parse.ChainNode, *parse.VariableNode:
				one := &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{n}}
				secret, key, rest := t.lookedUp(one, dot)
				if secret == nil {
					t.fail("%s has no equal, for a template is given keys of secrets only", n)
					return
				}
				command.Args[i] = t.inValue(secret, key, rest)
			case *parse.DotNode:
				t.fail("a secret as a whole has no equal, for a reference names its key")
				return
			}
		}
	}
}

// lookedUp returns which key of which secret a command takes, and the way into its value; no secret if it is another
// command.
func (t *agentTemplate) lookedUp(
	command *parse.CommandNode, dot *agentSecret,
) (secret *agentSecret, key string, rest []string) {
	first, arguments := command.Args[0], command.Args[1:]
	if identifier, is := first.(*parse.IdentifierNode); is && identifier.Ident == "index" && len(arguments) > 1 {
		first, arguments = arguments[0], arguments[1:]
	} else if len(arguments) > 0 {
		return nil, "", nil
	}
	var path []string
	switch n := first.(type) {
	case *parse.FieldNode:
		secret, path = dot, n.Ident
	case *parse.VariableNode:
		secret, path = t.variables[n.Ident[0]], n.Ident[1:]
	case *parse.ChainNode:
		if pipe, is := n.Node.(*parse.PipeNode); is {
			secret, path = t.read(pipe), n.Field
		}
	}
	for _, argument := range arguments {
		literal, is := argument.(*parse.StringNode)
		if !is {
			return nil, "", nil
		}
		path = append(slices.Clip(path), literal.Text)
	}
	if secret == nil {
		return nil, "", nil
	}
	return t.keyOf(secret, path)
}

// keyOf is the key at the beginning of a path into what a secret was there: .Data.data of KV version 2, .Data of
// others.
func (t *agentTemplate) keyOf(secret *agentSecret, path []string) (*agentSecret, string, []string) {
	if len(path) > 0 && path[0] == "Data" {
		path = path[1:]
		if len(path) > 0 && path[0] == "data" && !secret.certificate {
			path = path[1:]
		}
	} else if !secret.certificate {
		t.fail(".%s of a secret has no equal, for a reference takes its data", strings.Join(path, "."))
		return nil, "", nil
	}
	if len(path) == 0 || path[0] == "metadata" {
		t.fail("a secret as a whole, or its metadata, has no equal, for a reference names its key")
		return nil, "", nil
	}
	key := path[0]
	if secret.certificate {
		known := map[string]string{"Cert": "certificate", "Key": "private_key", "CA": "issuing_ca"}
		if key = known[key]; key == "" {
			t.fail("%s of a certificate has no equal", path[0])
			return nil, "", nil
		}
	}
	return secret, key, path[1:]
}

// inValue makes a key of a secret part of the value, and returns where it is there.
func (t *agentTemplate) inValue(secret *agentSecret, key string, rest []string) parse.Node {
	holder := strings.ReplaceAll(secret.name, "-", "_")
	inside(t.value, holder)[key] = reference(secret.name, key)
	path := append([]string{holder, key}, rest...)
	bare := true
	for _, step := range path {
		bare = bare && simple.MatchString(step)
	}
	if bare {
		return &parse.FieldNode{NodeType: parse.NodeField, Ident: path}
	}
	call := &parse.CommandNode{
		NodeType: parse.NodeCommand,
		Args:     []parse.Node{parse.NewIdentifier("index"), &parse.DotNode{NodeType: parse.NodeDot}},
	}
	for _, step := range path {
		call.Args = append(call.Args, &parse.StringNode{NodeType: parse.NodeString, Text: step, Quoted: strconv.Quote(step)})
	}
	return &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{call}}
}

// read is the secret that a pipeline reads; nil if it does not.
func (t *agentTemplate) read(pipe *parse.PipeNode) *agentSecret {
	if len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) < 2 {
		return nil
	}
	function, is := pipe.Cmds[0].Args[0].(*parse.IdentifierNode)
	if !is || (function.Ident != "secret" && function.Ident != "pkiCert") {
		return nil
	}
	var texts []string
	for _, argument := range pipe.Cmds[0].Args[1:] {
		text, is := argument.(*parse.StringNode)
		if !is {
			t.fail("%s is only known when it runs, and a Connection names its secrets", argument)
			return nil
		}
		texts = append(texts, text.Text)
	}
	path, query, _ := strings.Cut(texts[0], "?")
	secret, ok := secretAt(t.f.below(t.f.field(t.field), nil), path, t.config)
	if !ok {
		t.fail("%q is no path of a secret", path)
		return nil
	}
	if values, err := url.ParseQuery(query); err == nil && values.Has("version") {
		version, err := strconv.ParseInt(values.Get("version"), 10, 64)
		if err != nil || version < 1 {
			t.fail("%q names no version", query)
			return nil
		}
		secret.Version = &version
	}
	if len(texts) > 1 {
		parameters := map[string]any{}
		for _, text := range texts[1:] {
			name, value, _ := strings.Cut(text, "=")
			parameters[name] = value
		}
		secret.Method = v1alpha1.SecretMethodPost
		secret.Parameters = &apiextensionsv1.JSON{Raw: encoded(parameters)}
		t.f.note(Elsewhere, t.field, writes)
	}
	return &agentSecret{name: t.b.attach(secret), certificate: function.Ident == "pkiCert"}
}
