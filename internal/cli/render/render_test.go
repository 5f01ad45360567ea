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
		Equal(File{Path: "store.p12", Mode: 0o644, Missing: "its bytes are what a value in base64 decodes to"}),
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

// What references lead into is in Vault, and needs not be there.
func TestMaskedWhereverReferencesLead(t *testing.T) {
	g := NewWithT(t)
	optional := builder.VaultSecret("maybe", "maybe")
	optional.Optional = new(true)
	files, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{
		"field":    "vault.secret(app.config.db.host)",
		"item":     "vault.secret(app.hosts.0.name)",
		"quoted":   `vault.secret(app."app.json".db.ports.0)`,
		"direct":   "vault.secret(main:shop/app.config.user)",
		"whole":    "vault.secret(app.*)",
		"fallback": `vault.secret(app.config.port, 5432)`,
		"text":     `vault.secret(app.mode, "fast")`,
		"absent":   "vault.secret(maybe.config.key)",
		"inside":   map[string]any{"list": []any{"tcp://vault.secret(app.config.db.host):1", 2}},
		"type":     "vault.secret(app.kind.name)",
	}, builder.WithSecrets(builder.VaultSecret("app", "app"), optional)))
	g.Expect(err).NotTo(HaveOccurred())
	contents := map[string]string{}
	for _, file := range files {
		g.Expect(file.Missing).To(BeEmpty(), file.Path)
		contents[file.Path] = string(file.Content)
	}
	g.Expect(contents).To(Equal(map[string]string{
		"field":    "<vault.secret(app.config.db.host)>",
		"item":     "<vault.secret(app.hosts.0.name)>",
		"quoted":   `<vault.secret(app."app.json".db.ports.0)>`,
		"direct":   "<vault.secret(main:shop/app.config.user)>",
		"whole":    "<vault.secret(app.*)>",
		"fallback": "<vault.secret(app.config.port, 5432)>",
		"text":     `<vault.secret(app.mode, "fast")>`,
		"absent":   "<vault.secret(maybe.config.key)>",
		"inside":   `{"list":["tcp://<vault.secret(app.config.db.host)>:1",2]}`,
		"type":     "test",
	}))
}

// rendered are the files of a Connection whose value has a known host, a secret, and both in a list.
func rendered(t *testing.T, files ...v1alpha1.ConnectionFile) []File {
	t.Helper()
	made, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{
		"host": "h", "secret": "vault.secret(secret)", "hosts": []any{"h", "vault.secret(db.hosts.0)"},
	}, builder.WithSecrets(builder.VaultSecret("db", "db")), builder.WithFiles(files...)))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return made
}

func TestMaskedTemplates(t *testing.T) {
	const mask = "<vault.secret(secret)>"
	for source, content := range map[string]string{
		"{{ .secret }}@{{ .host }}":                                 mask + "@h",
		"{{ quote .secret }}":                                       `"` + mask + `"`,
		"{{ range .hosts }}{{ . }};{{ end }}":                       "h;<vault.secret(db.hosts.0)>;",
		`{{ if eq .host "h" }}{{ .secret }}{{ end }}`:               mask,
		`{{ printf "%s:%s" .host .secret | indent 1 }}`:             " h:" + mask,
		`{{ join "," .hosts }}`:                                     "h,<vault.secret(db.hosts.0)>",
		`{{ default "x" .secret }}{{ default .secret .host }}`:      mask + "h",
		"{{ toJson .hosts }}":                                       `["h","<vault.secret(db.hosts.0)>"]`,
		"{{ urlEscape .secret }}":                                   "%3Cvault.secret%28secret%29%3E",
		"{{ len .hosts }}{{ b64enc .host }}":                        "2aA==",
		"{{ $s := trim .secret }}{{ with .host }}{{ $s }}{{ end }}": mask,
	} {
		files := rendered(t, v1alpha1.ConnectionFile{Path: "a", Template: source})
		NewWithT(t).Expect(files[0]).To(Equal(File{Path: "a", Mode: 0o644, Content: []byte(content)}), source)
	}
}

// A template that takes a value apart, or goes by it, is shown by nobody, and the other files are shown.
func TestMaskedTemplatesThatNeedAValue(t *testing.T) {
	const depends = "what is written here depends on a value"
	for _, source := range []string{
		"{{ (fromJson .secret).a }}", "{{ fromJson .secret | toJson }}", `{{ index (fromJson .secret) "a" }}`, "{{ .secret.user }}",
		"{{ b64dec .secret }}", "{{ b64enc .secret }}", "{{ len .secret }}", `{{ join "," .secret }}`, `{{ splitList "," .secret | join ";" }}`,
		"{{ range .secret }}{{ . }}{{ end }}", "{{ range fromJson .secret }}{{ . }}{{ end }}", `{{ replace "a" "b" .secret }}`,
		"{{ if .secret }}a{{ end }}", `{{ if eq .secret "a" }}a{{ else }}b{{ end }}`, "{{ with .secret }}{{ . }}{{ end }}",
	} {
		g := NewWithT(t)
		files := rendered(t, v1alpha1.ConnectionFile{Path: "a", Template: "\n" + source}, v1alpha1.ConnectionFile{Path: "b", Format: v1alpha1.FileFormatJSON})
		g.Expect(files[0]).To(And(HaveField("Path", "a"), HaveField("Content", BeEmpty())), source)
		g.Expect(files[0].Missing).To(And(HavePrefix("line 2: "), HaveSuffix(depends)), source)
		g.Expect(files[1]).To(Equal(File{
			Path: "b", Mode: 0o644, Content: []byte(`{"host":"h","hosts":["h","<vault.secret(db.hosts.0)>"],"secret":"<vault.secret(secret)>"}` + "\n"),
		}), source)
	}
	files := rendered(t, v1alpha1.ConnectionFile{Path: "a", Template: "{{ .secret.user }}"})
	NewWithT(t).Expect(files[0].Missing).To(Equal("line 1: .secret.user: " + depends))
}

func TestMaskedBytes(t *testing.T) {
	g := NewWithT(t)
	files := rendered(t,
		v1alpha1.ConnectionFile{Path: "a", Template: "{{ .secret }}", Encoding: v1alpha1.FileEncodingBase64},
		v1alpha1.ConnectionFile{Path: "b", Template: "{{ b64enc .host }}", Encoding: v1alpha1.FileEncodingBase64},
		v1alpha1.ConnectionFile{Path: "c", Value: "aGk=", Encoding: v1alpha1.FileEncodingBase64},
		v1alpha1.ConnectionFile{Path: "d", Keystore: &v1alpha1.Keystore{
			Format: v1alpha1.KeystoreFormatPKCS12, PrivateKey: "vault.secret(key)", Certificates: []string{"vault.secret(certificate)"}, Password: "vault.secret(p)",
		}},
	)
	g.Expect(files).To(HaveExactElements(
		Equal(File{Path: "a", Mode: 0o644, Missing: "its bytes are what a value in base64 decodes to"}),
		Equal(File{Path: "b", Mode: 0o644, Content: []byte("h")}),
		Equal(File{Path: "c", Mode: 0o644, Content: []byte("hi")}),
		Equal(File{Path: "d", Mode: 0o644, Missing: "a key store is made of the values themselves: password, key and certificates"}),
		HaveField("Path", "type"),
	))
}

func TestMaskedTemplatesWhereKeysAreSpread(t *testing.T) {
	g := NewWithT(t)
	all := builder.VaultSecret("mail", "mail")
	all.Spread = new(true)
	files, err := Masked(context.Background(), builder.Connection("shop", "db", map[string]any{"host": "h"}, builder.WithSecrets(all),
		builder.WithFiles(v1alpha1.ConnectionFile{Path: "a", Template: "{{ .host }}"}, v1alpha1.ConnectionFile{Path: "b", Template: "{{ .user }}"},
			v1alpha1.ConnectionFile{Path: "c", Format: v1alpha1.FileFormatEnv})))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(HaveExactElements(
		Equal(File{Path: "a", Mode: 0o644, Content: []byte("h")}),
		And(HaveField("Path", "b"), HaveField("Missing", ContainSubstring("a key of a secret is meant of which every key is added"))),
		Equal(File{Path: "c", Mode: 0o644, Missing: "it holds every key of the secret (mail), and Vault alone knows them"}),
		HaveField("Path", "type"),
		HaveField("Path", "(mail)"),
	))
}

// What no pod could mount is no matter of values.
func TestMaskedTellsWhatIsWrong(t *testing.T) {
	secret := builder.WithSecret("db")
	for sentence, connection := range map[string]*v1alpha1.Connection{
		"vault.secert":                     builder.Connection("shop", "db", map[string]any{"p": "vault.secert(p)"}),
		"which is not among vaultSecrets":  builder.Connection("shop", "db", map[string]any{"p": "vault.secret(other.p)"}, secret),
		`file "a": line 1: .nope`:          builder.Connection("shop", "db", map[string]any{"p": "x"}, secret, builder.WithFiles(v1alpha1.ConnectionFile{Path: "a", Template: "{{ .nope }}"})),
		`file "b": its text is not base64`: builder.Connection("shop", "db", map[string]any{"p": "x"}, builder.WithFiles(v1alpha1.ConnectionFile{Path: "b", Value: "?", Encoding: v1alpha1.FileEncodingBase64})),
		`collides with the file "type"`:    builder.Connection("shop", "db", map[string]any{"type": "other"}),
	} {
		_, err := Masked(context.Background(), connection)
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(sentence)))
	}
}
