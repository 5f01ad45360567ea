package resolver

import (
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAConnectionWaitsForWhatIsWrongWithAVaultConfig(t *testing.T) {
	g := NewWithT(t)
	connection := &v1alpha1.Connection{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}}
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
	connection := &v1alpha1.Connection{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec: v1alpha1.ConnectionSpec{Type: "demo", Value: map[string]apiextensionsv1.JSON{
			"password": {Raw: []byte(`"vault.secret(app.password)"`)},
		}},
	}
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
