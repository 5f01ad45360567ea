package fault

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const root = "../.."

// declared returns the Reason constants of the API package: their values by their names.
func declared(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/names.go"), nil, 0)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			if literal, ok := spec.Values[i].(*ast.BasicLit); ok && strings.HasPrefix(name.Name, "Reason") {
				value, err := strconv.Unquote(literal.Value)
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
				found[name.Name] = value
			}
		}
		return true
	})
	return found
}

func TestEachReasonIsInTheTable(t *testing.T) {
	g := NewWithT(t)
	constants := declared(t)
	g.Expect(len(constants)).To(BeNumerically(">", 40))
	var values []string
	for name, value := range constants {
		g.Expect(reasons).To(HaveKey(value), "%s has no row in reasons.go", name)
		values = append(values, value)
	}
	for reason := range reasons {
		g.Expect(values).To(ContainElement(reason), "reasons.go has a row for %s, which is no Reason constant", reason)
	}
}

// row is a row of a table in docs/reference/reasons.md.
var row = regexp.MustCompile("^\\| `(\\w+)` \\|(.*)\\|$")

func TestTheTableIsThatOfTheDocs(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/reasons.md"))
	g.Expect(err).NotTo(HaveOccurred())
	documented := map[string]bool{}
	var columns []string
	_, whole, _ := strings.Cut(string(page), "\n## Vault\n")
	for line := range strings.Lines(whole) {
		line = strings.TrimSpace(line)
		if header, found := strings.CutPrefix(line, "| Reason |"); found {
			columns = cells(header)
		}
		match := row.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		reason := match[1]
		g.Expect(documented).NotTo(HaveKey(reason), "twice in the docs")
		documented[reason] = true
		known := reasons[reason]
		says := map[string]string{"Meaning": known.meaning, "Cure": known.cure, "Retry": known.retry}
		for i, cell := range cells(match[2] + "|") {
			if columns[i] != "Status" {
				g.Expect(cell).To(Equal(says[columns[i]]), "%s, column %s", reason, columns[i])
			}
			delete(says, columns[i])
		}
		for column, text := range says {
			g.Expect(text).To(BeEmpty(), "the docs have no column %s for %s", column, reason)
		}
	}
	for reason := range reasons {
		g.Expect(documented).To(HaveKey(reason), "docs/reference/reasons.md has no row for it")
	}
}

// TestOnlyAnEditCuresWhatIsTerminal: the docs list what is terminal, and which edit cures it.
func TestOnlyAnEditCuresWhatIsTerminal(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/reasons.md"))
	g.Expect(err).NotTo(HaveOccurred())
	_, table, found := strings.Cut(string(page), "## What is terminal\n")
	g.Expect(found).To(BeTrue())
	table, _, _ = strings.Cut(table, "\n## ")
	documented := map[string][]string{}
	for line := range strings.Lines(table) {
		if match := row.FindStringSubmatch(strings.TrimSpace(line)); match != nil {
			documented[match[1]] = cells(match[2] + "|")
		}
	}
	for reason, known := range reasons {
		if !Allows(reason, ClassTerminal) {
			g.Expect(known.terminal+known.edit).To(BeEmpty(), reason)
			continue
		}
		g.Expect(known.edit).NotTo(BeEmpty(), "%s: who cures it when it is terminal?", reason)
		g.Expect(documented[reason]).To(Equal([]string{known.terminal, known.edit}), reason)
		delete(documented, reason)
	}
	g.Expect(documented).To(BeEmpty())
}

func cells(line string) []string {
	parts := strings.Split(strings.TrimSuffix(line, "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func TestFaultsAreOfAClassThatTheirReasonCanHave(t *testing.T) {
	g := NewWithT(t)
	constants := declared(t)
	classes := map[string]Class{"Transient": ClassTransient, "Waiting": ClassWaiting, "Terminal": ClassTerminal}
	used := map[string]map[Class]bool{}
	visit := func(file *ast.File, at *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			class, isClass := classes[selected(call.Fun, "fault")]
			reason, isReason := constants[selected(call.Args[0], "v1alpha1")]
			if isClass && isReason {
				g.Expect(Allows(reason, class)).To(BeTrue(), "%s: reasons.go lists no class %s for %s", at.Position(call.Pos()), class, reason)
				if used[reason] == nil {
					used[reason] = map[Class]bool{}
				}
				used[reason][class] = true
			}
			return true
		})
	}
	for _, dir := range []string{"internal", "controllers"} {
		g.Expect(filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			at := token.NewFileSet()
			file, err := parser.ParseFile(at, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			visit(file, at)
			return nil
		})).To(Succeed())
	}
	g.Expect(len(used)).To(BeNumerically(">", 25), "the search finds the faults")
}

// selected returns NAME of an expression PACKAGE.NAME.
func selected(expression ast.Expr, pkg string) string {
	selector, ok := expression.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if name, ok := selector.X.(*ast.Ident); !ok || name.Name != pkg {
		return ""
	}
	return selector.Sel.Name
}

func TestCodesAreThoseThatTheKubeletActsOn(t *testing.T) {
	g := NewWithT(t)
	g.Expect(Code(v1alpha1.ReasonNoResolver)).To(Equal(codes.Unavailable))
	g.Expect(Code(v1alpha1.ReasonUnknownOverride)).To(Equal(codes.InvalidArgument))
	g.Expect(Code(v1alpha1.ReasonInternal)).To(Equal(codes.Internal))
	g.Expect(Code("of a later version")).To(Equal(codes.Internal))
}

func TestTheDocsListWhatMayBeOnItsWay(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join(root, "docs/reference/reasons.md"))
	g.Expect(err).NotTo(HaveOccurred())
	_, section, _ := strings.Cut(string(page), "\n- `Reconciling`:")
	section, _, _ = strings.Cut(section, "\n- `Stalled`:")
	for reason, entry := range reasons {
		g.Expect(strings.Contains(section, "`"+reason+"`")).To(Equal(entry.arriving), reason)
		g.Expect(!entry.arriving || Allows(reason, ClassWaiting)).To(BeTrue(), reason)
	}
}
