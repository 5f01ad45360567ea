package resolver

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/farvault"
)

func TestMain(m *testing.M) { os.Exit(farvault.Run(m)) }

// cached returns objects as an informer's cache does: each caller gets a copy.
type cached struct {
	client.Reader
	config *v1alpha1.VaultConfig
	token  *corev1.Secret
}

func (c cached) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	switch into := object.(type) {
	case *v1alpha1.VaultConfig:
		c.config.DeepCopyInto(into)
	case *corev1.Secret:
		c.token.DeepCopyInto(into)
	default:
		return errors.New("not there")
	}
	return nil
}

// BenchmarkUnchanged is what it costs to find that nothing changed: for a volume and for the check of a Connection,
// with what is known of the secret and with a read in Vault.
func BenchmarkUnchanged(b *testing.B) {
	g := NewWithT(b)
	url, certificate := farvault.Start(b)
	objects := cached{
		config: builder.VaultConfig("shop", builder.ConfigName, builder.WithAddress(url, certificate),
			func(c *v1alpha1.VaultConfig) { c.UID, c.Generation = "uid-main", 1 }),
		token: builder.TokenSecret("shop", builder.TokenSecretName, "token"),
	}
	sessions, err := session.NewSessions(session.Options{Reader: objects})
	g.Expect(err).NotTo(HaveOccurred())
	connection := builder.Connection("shop", "db", map[string]any{
		"user": "vault.secret(user)", "password": "vault.secret(password)", "host": "db.example.com", "port": 5432,
	}, builder.WithSecret("shop/db"))
	connection.UID, connection.Generation, connection.ResourceVersion = "uid-db", 1, "7"
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
