package resolver

import (
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func TestAConnectionWaitsForWhatIsWrongWithAVaultConfig(t *testing.T) {
	g := NewWithT(t)
	connection := builder.Connection("shop", "db", nil)
	config := fault.Subject{Kind: fault.KindVaultConfig, Namespace: "shop", Name: "main"}
	wrong := fault.About(fault.Terminal(v1alpha1.ReasonInvalidSpec, "caCertificate holds no certificate"), config)

	seen := fault.From(seenFrom(connection, fault.InField(wrong, "key %q", "password")))
	g.Expect(seen.Class).To(Equal(fault.ClassWaiting), "no edit of the Connection cures it")
	g.Expect(seen.Subject).To(Equal(config))
	g.Expect(seen).To(MatchError(`Connection shop/db, key "password": caCertificate holds no certificate`))
	g.Expect(wrong.Class).To(Equal(fault.ClassTerminal), "for the VaultConfig itself nothing changes")
	g.Expect(seenFrom(connection, nil)).To(Succeed())
}

func TestAConnectionEndsAtItsOwnMistake(t *testing.T) {
	g := NewWithT(t)
	connection := builder.Connection("shop", "db", map[string]any{"password": "vault.secret(app.password)"})
	for name, resolve := range map[string]func(*Engine) error{
		"checked": func(e *Engine) error { _, err := e.Check(t.Context(), connection, ""); return err },
		"mounted": func(e *Engine) error { _, err := e.Resolve(t.Context(), connection, Volume{}); return err },
		"used":    func(e *Engine) error { _, err := e.Values(t.Context(), connection); return err },
	} {
		f := fault.From(resolve(newTestEngine()))
		g.Expect(f.Class).To(Equal(fault.ClassTerminal), name)
		g.Expect(f.Message()).To(HavePrefix("Connection shop/db, "), name)
	}
}
