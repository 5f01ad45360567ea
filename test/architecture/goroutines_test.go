package architecture_test

import (
	"go/ast"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// unguarded are the goroutines and timers, by file, that may end the process when they panic, for without them it would
// only seem to live, or that do nothing which a request could make panic.
var unguarded = map[string]int{
	"internal/app/app.go":                   1, // stops a server
	"internal/app/node.go":                  3, // the parts of the node plugin
	"controllers/connection/watch.go":       4, // predicates, which compare what we know of two versions
	"controllers/restart/controller.go":     3, // predicates
	"internal/requeue/refresh.go":           1, // a predicate
	"internal/lease/revocationqueue.go":     1, // takes from the queue; what it calls is guarded
	"internal/node/refresh/run.go":          2, // the queue, and the watch for changes
	"internal/node/run.go":                  3, // the parts of the driver
	"internal/node/server.go":               1, // stops the server
	"internal/resolver/burstcache.go":       2, // forget entries
	"internal/resolver/client/replicas.go":  4, // the watch for replicas, and what it was told by whom Sallyport trusts
	"internal/resolver/server/listener.go":  1, // closes a connection
	"internal/resolver/server/server.go":    2, // stop the server
	"internal/vault/session/revoke.go":      1, // takes from the queue; what it calls is guarded
	"internal/vault/transport/roundtrip.go": 1, // cancels a request
}

// A panic in a goroutine ends the process, and with it the requests of everybody, whoever's object it was about.
func TestEveryGoroutineIsGuarded(t *testing.T) {
	found, guarded := map[string]int{}, 0
	for _, c := range packages(t) {
		if c.dir == "api" || strings.HasPrefix(c.dir, "cmd") || strings.HasPrefix(c.dir, "internal/cli") {
			continue // programs of one user, or no program
		}
		for _, file := range c.files {
			name := c.dir + "/" + filepath.Base(c.at.Position(file.Pos()).Filename)
			for _, spec := range file.Imports {
				if spec.Path.Value == `"golang.org/x/sync/singleflight"` && c.dir != "internal/flight" {
					collect(t).Expect(name).To(BeEmpty(), "it uses singleflight, which ends the process when a flight panics; use flight.Group")
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				for _, run := range started(n) {
					if guards(run) {
						guarded++
					} else {
						found[name]++
					}
				}
				return true
			})
		}
	}
	for name, count := range found {
		collect(t).Expect(count).To(BeNumerically("<=", unguarded[name]),
			"%s starts goroutines, timers or handlers of informers whose panic ends the process: use fault.Guarded or fault.Guard", name)
	}
	for name, count := range unguarded {
		collect(t).Expect(found[name]).To(Equal(count), "%s has fewer that are not guarded than are excepted", name)
	}
	NewWithT(t).Expect(guarded).To(BeNumerically(">", 8), "the search finds them")
}

// started are the functions that a node of the syntax tree has others call later: a go statement, Go of a group or
// AfterFunc, a handler of an informer.
func started(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.GoStmt:
		return []ast.Expr{n.Call.Fun}
	case *ast.CallExpr:
		if selector, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 &&
			slices.Contains([]string{"Go", "AfterFunc", "DoChan"}, selector.Sel.Name) {
			return n.Args[len(n.Args)-1:]
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && slices.Contains([]string{"AddFunc", "UpdateFunc", "DeleteFunc"}, key.Name) {
			return []ast.Expr{n.Value}
		}
	}
	return nil
}

// guards tells whether a function is fault.Guarded(…), or calls that or fault.Guard.
func guards(run ast.Expr) bool {
	guards := false
	ast.Inspect(run, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			pkg, _ := selector.X.(*ast.Ident)
			guards = guards || pkg != nil && pkg.Name == "fault" && strings.HasPrefix(selector.Sel.Name, "Guard")
		}
		return true
	})
	return guards
}
