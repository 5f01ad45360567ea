package projection

import (
	"context"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAKeyStoreIsMadeOfItsTexts(t *testing.T) {
	g := NewWithT(t)
	spec := &v1alpha1.ConnectionSpec{Type: "tls", Files: []v1alpha1.ConnectionFile{{Path: "a/store.p12", Keystore: &v1alpha1.Keystore{
		Format: v1alpha1.KeystoreFormatPKCS12, PrivateKey: "vault.secret(k)", Certificates: []string{"vault.secret(c)", "vault.secret(d, [])"}, Password: "vault.secret(p)",
	}}}}
	layout, err := NewLayout(spec, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(layout.Texts()).To(Equal(map[string]string{
		"a/store.p12 keystore.password": "vault.secret(p)", "a/store.p12 keystore.privateKey": "vault.secret(k)",
		"a/store.p12 keystore.certificates[0]": "vault.secret(c)", "a/store.p12 keystore.certificates[1]": "vault.secret(d, [])",
	}))
	g.Expect(layout.Origins(nil)[0].Texts).To(HaveLen(4), "all decide whether the file is kept")

	many := &v1alpha1.ConnectionSpec{Type: "tls"}
	for i := range maxKeystores + 1 {
		many.Files = append(many.Files, v1alpha1.ConnectionFile{Path: fmt.Sprint("f", i), Keystore: spec.Files[0].Keystore})
	}
	_, err = NewLayout(many, nil)
	g.Expect(err).To(MatchError("files makes 33 key stores; a volume holds at most 32; use several Connections"))

	unknown := map[string]any{}
	for place := range layout.Texts() {
		unknown[place] = Unknown{}
	}
	g.Expect(layout.Check(context.Background(), nil, unknown, false)).To(Succeed(), "a check knows none of them")
	for _, empty := range []any{nil, ""} {
		unknown["a/store.p12 keystore.password"] = empty
		_, err = layout.Files(context.Background(), nil, unknown, nil)
		g.Expect(err).To(MatchError(`file "a/store.p12": keystore.password: it is empty; a key store needs a password: refer to one that is not`))
		g.Expect(fault.Is(err, v1alpha1.ReasonNotRepresentable)).To(BeTrue())
	}
	_, err = layout.Files(context.Background(), nil, map[string]any{
		"a/store.p12 keystore.password": "correct-horse", "a/store.p12 keystore.privateKey": nil, "a/store.p12 keystore.certificates[0]": []any{"x", 1},
	}, nil)
	g.Expect(err).To(MatchError(HavePrefix(`file "a/store.p12": keystore.certificates: there is no PEM`)))
}
