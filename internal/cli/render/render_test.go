package render

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

func TestMaskedWithoutFiles(t *testing.T) {
	g := NewWithT(t)
	files, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{
		"host": "db.example.com", "password": "vault.secret(password)",
		"nested": map[string]any{"url": "jdbc:vault.secret(main:db.user)@x"},
	}, builder.WithSecret("db")))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]File{
		{Path: "host", Mode: 0o644, Content: []byte("db.example.com")},
		{Path: "nested", Mode: 0o644, Content: []byte(`{"url":"jdbc:<vault.secret(main:db.user)>@x"}`)},
		{Path: "password", Mode: 0o644, Content: []byte("<vault.secret(password)>")},
		{Path: "type", Mode: 0o644, Content: []byte("test")},
	}))
}

// A file that computes with a value is the only one without content.
func TestMaskedWhereAValueIsNeeded(t *testing.T) {
	g := NewWithT(t)
	mode := int32(0o400)
	files, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{
		"store": "vault.secret(store)", "user": "u",
	}, builder.WithSecret("db"), builder.WithFiles(
		v1alpha1.ConnectionFile{Path: "app.env", Format: v1alpha1.FileFormatEnv, Mode: &mode},
		v1alpha1.ConnectionFile{Path: "store.p12", Value: "vault.secret(store)", Encoding: v1alpha1.FileEncodingBase64},
		v1alpha1.ConnectionFile{Path: "url", Template: "{{ .user }}:{{ .store }}"},
	)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveExactElements(
		Equal(File{Path: "app.env", Mode: 0o400, Content: []byte("store='<vault.secret(store)>'\nuser=u\n")}),
		And(HaveField("Path", "store.p12"), HaveField("Missing", ContainSubstring("base64")), HaveField("Content", BeEmpty())),
		HaveField("Path", "type"),
		Equal(File{Path: "url", Mode: 0o644, Content: []byte("u:<vault.secret(store)>")}),
	))
}

func TestMaskedWhereKeysAreSpread(t *testing.T) {
	g := NewWithT(t)
	listed, all := builder.VaultSecret("db", "db"), builder.VaultSecret("mail", "mail")
	listed.Spread, listed.Keys, all.Spread = new(true), []string{"user"}, new(true)
	files, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{"host": "h"},
		builder.WithSecrets(listed, all)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveExactElements(
		HaveField("Path", "host"), HaveField("Path", "type"),
		Equal(File{Path: "user", Mode: 0o644, Content: []byte("<vault.secret(db.user)>")}),
		And(HaveField("Path", "(mail)"), HaveField("Missing", ContainSubstring("Vault alone knows them"))),
	))
}

func TestMaskedTellsWhatIsWrong(t *testing.T) {
	g := NewWithT(t)
	_, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{"p": "vault.secert(p)"}))
	g.Expect(err).To(MatchError(ContainSubstring("vault.secert")))
}
