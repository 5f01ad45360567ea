package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"iter"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// page is a Markdown document.
type page struct {
	name    string // its path in the checkout
	title   string
	source  []byte
	tree    ast.Node
	anchors map[string]bool
}

var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

func parse(name string, source []byte) *page {
	ids := identifiers{}
	p := &page{name: name, title: name, source: source, anchors: ids}
	p.tree = markdown.Parser().Parse(text.NewReader(source), parser.WithContext(parser.NewContext(parser.WithIDs(ids))))
	if heading, ok := p.tree.FirstChild().(*ast.Heading); ok {
		p.title = string(heading.Lines().Value(source))
	}
	return p
}

// identifiers are the anchors of one page's headings, as GitHub makes them.
type identifiers map[string]bool

func (i identifiers) Generate(heading []byte, _ ast.NodeKind) []byte {
	var id strings.Builder
	for _, r := range strings.ToLower(string(heading)) {
		switch {
		case r == ' ':
			id.WriteRune('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			id.WriteRune(r)
		}
	}
	unique := id.String()
	for n := 1; i[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", id.String(), n)
	}
	i[unique] = true
	return []byte(unique)
}

func (i identifiers) Put(value []byte) { i[string(value)] = true }

// resolve has the links of a page lead to pages of the site, and notes those that lead nowhere.
func (s *site) resolve(p *page) {
	_ = ast.Walk(p.tree, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch link := node.(type) {
		case *ast.Link:
			link.Destination = []byte(s.target(p, string(link.Destination)))
		case *ast.Image:
			link.Destination = []byte(s.target(p, string(link.Destination)))
		}
		return ast.WalkContinue, nil
	})
}

func (s *site) target(p *page, link string) string {
	address, err := url.Parse(link)
	if err != nil {
		s.dead = append(s.dead, fmt.Sprintf("%s: %s: %v", p.name, link, err))
		return link
	}
	if address.Scheme != "" {
		return link
	}
	name := p.name
	if address.Path != "" {
		name = path.Join(path.Dir(p.name), address.Path)
	}
	to, isPage := s.pages[name]
	info, err := os.Stat(filepath.Join(s.root, name))
	switch {
	case isPage && (address.Fragment == "" || to.anchors[address.Fragment]):
	case isPage:
		s.dead = append(s.dead, fmt.Sprintf("%s: %s: there is no such heading in %s", p.name, link, name))
	case err != nil || strings.HasPrefix(name, ".."):
		s.dead = append(s.dead, fmt.Sprintf("%s: %s: there is no %s", p.name, link, name))
	default:
		s.files[name] = true
		if info.IsDir() {
			name += "/index.md"
		}
	}
	if address.Path == "" {
		return link
	}
	there := relative(p.name, name)
	if address.Fragment != "" {
		there += "#" + address.Fragment
	}
	return there
}

//go:embed page.html
var layout string

var frame = template.Must(template.New("page").Parse(layout))

type entry struct{ Title, Link string }

// render writes a page into the frame, with the list of all pages beside it.
func (s *site) render(p *page) ([]byte, error) {
	var body bytes.Buffer
	if err := markdown.Renderer().Render(&body, p.source, p.tree); err != nil {
		return nil, err
	}
	groups := map[string][]entry{}
	for _, name := range slices.Sorted(keys(s.pages)) {
		group := strings.TrimPrefix(strings.TrimPrefix(path.Dir(name), "docs"), "/")
		groups[group] = append(groups[group], entry{s.pages[name].title, relative(p.name, name)})
	}
	var made bytes.Buffer
	err := frame.Execute(&made, map[string]any{
		"Title": p.title, "Home": relative(p.name, "README.md"), "Body": template.HTML(body.String()),
		"Top": groups[""], "Docs": groups["."], "Reference": groups["reference"], "Runbooks": groups["runbooks"],
	})
	return made.Bytes(), err
}
