package resolver

import (
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/farvault"
)

func TestMain(m *testing.M) { os.Exit(farvault.Run(m)) }

// BenchmarkUnchanged is what it costs to find that nothing changed: for a volume and for the check of a Connection,
// with what is known of the secret and with a read in Vault.
func BenchmarkUnchanged(b *testing.B) {
	g := NewWithT(b)
	objects := farvault.NewObjects(farvault.Start(b))
	sessions, err := session.NewSessions(session.Options{Reader: objects})
	g.Expect(err).NotTo(HaveOccurred())
	connection := objects.Connection
	volume := func(e *Engine, revision string) (*Resolved, error) {
		return e.Resolve(b.Context(), connection, Volume{Revision: revision})
	}
	check := func(e *Engine, revision string) (*Resolved, error) { return e.Check(b.Context(), connection, revision) }
	for _, bench := range []struct {
		name  string
		find  func(*Engine, string) (*Resolved, error)
		reads bool
	}{{"volume/known", volume, false}, {"volume/read", volume, true}, {"check/known", check, false}, {"check/read", check, true}} {
		b.Run(bench.name, func(b *testing.B) {
			clk := clocktesting.NewFakePassiveClock(time.Now())
			e := NewEngine(objects, sessions, clk)
			first, err := bench.find(e, "")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			defer farvault.CPU(b)()
			for b.Loop() {
				if bench.reads {
					clk.SetTime(clk.Now().Add(DefaultRefreshInterval))
				}
				resolved, err := bench.find(e, first.Revision)
				if err != nil || !resolved.Unchanged {
					b.Fatal(resolved, err)
				}
			}
		})
	}
}
