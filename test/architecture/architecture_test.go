// Package architecture_test holds the code to its measures: what the import rules of the linter cannot say.
package architecture_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	root       = "../.."
	maxFiles   = 20
	maxMethods = 30
)

// oneWay are the packages whose files may not use each other in a circle.
var oneWay = []string{"internal/vault", "internal/resolver"}

// code is that of a package: its files without tests and generated ones, and what the names in them mean.
type code struct {
	dir   string
	files []*ast.File
	at    *token.FileSet
	info  *types.Info
	pkg   *types.Package
}

// packages returns the packages of production code.
func packages(t *testing.T) []*code {
	t.Helper()
	g := NewWithT(t)
	var found []*code
	for _, top := range []string{"api", "cmd", "controllers", "internal"} {
		dir := filepath.Join(root, top)
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			continue
		}
		g.Expect(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			if h := open(g, path); h != nil {
				found = append(found, h)
			}
			return nil
		})).To(Succeed())
	}
	g.Expect(len(found)).To(BeNumerically(">", 15), "the search finds the packages")
	return found
}

func open(g Gomega, dir string) *code {
	h := &code{at: token.NewFileSet()}
	h.dir, _ = filepath.Rel(root, dir)
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(h.at, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		g.Expect(err).NotTo(HaveOccurred())
		if !ast.IsGenerated(file) {
			h.files = append(h.files, file)
		}
	}
	if len(h.files) == 0 {
		return nil
	}
	h.info = &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	// Other packages are empty ones: what belongs to this package is found without them, whatever else is not.
	config := types.Config{Importer: empty{}, Error: func(error) {}}
	h.pkg, _ = config.Check(h.dir, h.at, h.files, h.info)
	return h
}

type empty struct{}

func (empty) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}

func TestNoPackageIsLarge(t *testing.T) {
	for _, h := range packages(t) {
		collect(t).Expect(len(h.files)).To(BeNumerically("<=", maxFiles), "%s: so many files have more than one reason; split it", h.dir)
	}
}

func TestNoTypeIsLarge(t *testing.T) {
	for _, h := range packages(t) {
		methods := map[string]int{}
		for _, file := range h.files {
			for _, declaration := range file.Decls {
				if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv != nil {
					methods[receiver(f.Recv.List[0].Type)]++
				}
			}
		}
		for name, count := range methods {
			collect(t).Expect(count).To(BeNumerically("<=", maxMethods), "%s.%s: so many methods have more than one reason; split it", h.dir, name)
		}
	}
}

func receiver(of ast.Expr) string {
	switch e := of.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func TestFilesUseEachOtherOneWay(t *testing.T) {
	for _, h := range packages(t) {
		if !slices.ContainsFunc(oneWay, func(dir string) bool { return h.dir == dir || strings.HasPrefix(h.dir, dir+"/") }) {
			continue
		}
		for _, circle := range circles(h.uses()) {
			collect(t).Expect(circle).To(BeEmpty(), "%s: these files use each other in a circle", h.dir)
		}
	}
}

// uses are, for each file, the files of the same package that declare what it uses, and an example of that.
func (c *code) uses() map[string]map[string]string {
	name := func(p token.Pos) string { return filepath.Base(c.at.Position(p).Filename) }
	uses := map[string]map[string]string{}
	for _, file := range c.files {
		uses[name(file.Pos())] = map[string]string{}
	}
	for id, object := range c.info.Uses {
		if object.Pkg() != c.pkg || !object.Pos().IsValid() || isPackage(object) {
			continue
		}
		if from, to := name(id.Pos()), name(object.Pos()); from != to {
			uses[from][to] = id.Name
		}
	}
	return uses
}

func isPackage(object types.Object) bool { _, is := object.(*types.PkgName); return is }

// circles are the groups of files of which each can be reached from each, by Tarjan's algorithm.
func circles(uses map[string]map[string]string) [][]string {
	var found [][]string
	index, low, onStack := map[string]int{}, map[string]int{}, map[string]bool{}
	var stack []string
	var visit func(string)
	visit = func(v string) {
		index[v], low[v] = len(index)+1, len(index)+1
		stack, onStack[v] = append(stack, v), true
		for _, w := range slices.Sorted(maps.Keys(uses[v])) {
			if index[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if onStack[w] {
				low[v] = min(low[v], index[w])
			}
		}
		if low[v] != index[v] {
			return
		}
		var circle []string
		for {
			w := stack[len(stack)-1]
			stack, onStack[w] = stack[:len(stack)-1], false
			circle = append(circle, w)
			if w == v {
				break
			}
		}
		if len(circle) > 1 {
			slices.Sort(circle)
			for _, from := range slices.Clone(circle) {
				for _, to := range slices.Sorted(maps.Keys(uses[from])) {
					if slices.Contains(circle, to) {
						circle = append(circle, fmt.Sprintf("%s → %s (%s)", from, to, uses[from][to]))
					}
				}
			}
			found = append(found, circle)
		}
	}
	for _, v := range slices.Sorted(maps.Keys(uses)) {
		if index[v] == 0 {
			visit(v)
		}
	}
	return found
}

// collect returns expectations that all are looked at, also after one that failed.
func collect(t *testing.T) Gomega {
	t.Helper()
	return NewGomega(func(message string, _ ...int) { t.Error(message) })
}
