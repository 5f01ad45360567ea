package resolver

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/builder"
)

func spreadSecret(name, path string, mutate ...func(*v1alpha1.VaultSecret)) v1alpha1.VaultSecret {
	secret := builder.VaultSecret(name, path)
	secret.Spread = new(bool)
	*secret.Spread = true
	for _, m := range mutate {
		m(&secret)
	}
	return secret
}

// spreadFiles are the files of a Connection whose secrets hold what is told by path.
func spreadFiles(t *testing.T, connection *v1alpha1.Connection, there map[string]map[string]any) (map[string]string, error) {
	t.Helper()
	doc, err := newDocument(connection, nil)
	if err != nil {
		return nil, err
	}
	p, err := newPlan("shop", connection.Spec.VaultSecrets, doc.references())
	if err != nil {
		return nil, err
	}
	for _, s := range p.sources {
		s.path = s.location.SecretPath
		if data, found := there[s.path]; found {
			s.keep(&secrets.Secret{Data: data}, true)
			continue
		}
		s.err = fault.Waiting(v1alpha1.ReasonSecretNotFound, "nothing at %s", s.path).WithAbsent()
		s.forgive()
	}
	if err := doc.spreadRead(p.keysOf); err != nil {
		return nil, err
	}
	if err := doc.checkFiles(t.Context()); err != nil {
		return nil, err
	}
	if err := doc.checkReferences(p.lookup); err != nil {
		return nil, err
	}
	made, err := doc.files(t.Context(), p.lookup, nil)
	files := map[string]string{}
	for _, file := range made {
		files[file.Path] = string(file.Content)
	}
	delete(files, "type")
	return files, err
}

func TestKeysOfASecretThatIsSpreadStandInValue(t *testing.T) {
	there := map[string]map[string]any{
		"a": {"user": "scott", "password": "tiger", "ports": []any{"1"}}, "b": {"user": "books", "token": "t"},
	}
	prefixed := func(s *v1alpha1.VaultSecret) { s.Prefix = "b_" }
	listed := func(keys ...string) func(*v1alpha1.VaultSecret) {
		return func(s *v1alpha1.VaultSecret) { s.Keys = keys }
	}
	optional := func(s *v1alpha1.VaultSecret) { s.Optional = s.Spread }
	for name, row := range map[string]struct {
		value   map[string]any
		secrets []v1alpha1.VaultSecret
		files   []v1alpha1.ConnectionFile
		made    map[string]string
	}{
		"all": {nil, []v1alpha1.VaultSecret{spreadSecret("", "a")}, nil,
			map[string]string{"user": "scott", "password": "tiger", "ports": `["1"]`}},
		"beside what stands in value, which wins": {map[string]any{"user": "me", "host": "h"}, []v1alpha1.VaultSecret{spreadSecret("", "a")}, nil,
			map[string]string{"user": "me", "host": "h", "password": "tiger", "ports": `["1"]`}},
		"those that are listed": {nil, []v1alpha1.VaultSecret{spreadSecret("", "a", listed("user")), spreadSecret("", "b", listed("token"))}, nil,
			map[string]string{"user": "scott", "token": "t"}},
		"with a prefix": {nil, []v1alpha1.VaultSecret{spreadSecret("x", "a"), spreadSecret("y", "b", prefixed)}, nil,
			map[string]string{"user": "scott", "password": "tiger", "ports": `["1"]`, "b_user": "books", "b_token": "t"}},
		"one that need not be there": {nil, []v1alpha1.VaultSecret{spreadSecret("", "none", optional), spreadSecret("", "b")}, nil,
			map[string]string{"user": "books", "token": "t"}},
		"a key that need not be there": {nil, []v1alpha1.VaultSecret{spreadSecret("", "b", optional, listed("user", "none"))}, nil,
			map[string]string{"user": "books", "none": ""}},
		"in files of the author's choice": {map[string]any{"host": "vault.secret(token)"}, []v1alpha1.VaultSecret{spreadSecret("", "b")},
			[]v1alpha1.ConnectionFile{{Path: "a.json", Format: v1alpha1.FileFormatJSON}, {Path: "t", Template: "{{ .user }}"}},
			map[string]string{"a.json": `{"host":"t","token":"t","user":"books"}` + "\n", "t": "books"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			files, err := spreadFiles(t, builder.Connection("shop", "db", row.value, builder.WithSecrets(row.secrets...), builder.WithFiles(row.files...)), there)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(files).To(Equal(row.made))
		})
	}
}

func TestWhatCannotBeSpreadSaysWhyAndHowToCureIt(t *testing.T) {
	many := func(keys int) map[string]any {
		data := map[string]any{}
		for i := range keys {
			data[fmt.Sprintf("K%04d", i)] = "v"
		}
		return data
	}
	const brought = "what is spread brought it: list the keys that are wanted, give them a prefix, or name files"
	there := map[string]map[string]any{
		"a": {"user": "scott"}, "b": {"user": "books"}, "thousand": many(1000), "more": many(1025),
		"blank": {"pass word": "x", "ok": "y", "größe": "z"}, "type": {"type": "another"}, "hidden": {"..data": "x"},
	}
	env := []v1alpha1.ConnectionFile{{Path: "env", Format: v1alpha1.FileFormatEnv}}
	typo := []v1alpha1.ConnectionFile{{Path: "t", Template: "{{ .usr }}"}}
	for name, row := range map[string]struct {
		secrets          []v1alpha1.VaultSecret
		files            []v1alpha1.ConnectionFile
		reason, sentence string
	}{
		"one key of two secrets": {[]v1alpha1.VaultSecret{spreadSecret("x", "a"), spreadSecret("", "b")}, nil, v1alpha1.ReasonAmbiguousKey,
			`key "user" of value is spread from two secrets: vault.secret("vaultSecrets[1]".user) and vault.secret(x.user); ` +
				`give one of them a prefix, list its keys, or write the key in value`},
		"a thousand keys": {[]v1alpha1.VaultSecret{spreadSecret("", "thousand")}, nil, v1alpha1.ReasonTooLarge,
			`value makes 1001 files, the file "type" included; a volume holds at most 512`},
		"more keys than any": {[]v1alpha1.VaultSecret{spreadSecret("", "more")}, env, v1alpha1.ReasonTooLarge,
			`more than 1024 keys are spread; list those that are wanted in keys`},
		"names that are no file's": {[]v1alpha1.VaultSecret{spreadSecret("", "blank")}, nil, v1alpha1.ReasonInvalidFileName,
			`key "größe" of value cannot be the name of a file: only letters and digits of ASCII, "-", "_" and "." are allowed; ` + brought},
		"names of the volume's":           {[]v1alpha1.VaultSecret{spreadSecret("", "hidden")}, nil, v1alpha1.ReasonInvalidFileName, "which the volume keeps for itself; " + brought},
		"names that a format cannot hold": {[]v1alpha1.VaultSecret{spreadSecret("", "blank")}, env, v1alpha1.ReasonNotRepresentable, brought},
		"the file type":                   {[]v1alpha1.VaultSecret{spreadSecret("", "type")}, nil, v1alpha1.ReasonInvalidSpec, `collides with the file "type"`},
		"a secret that is not there":      {[]v1alpha1.VaultSecret{spreadSecret("", "none")}, nil, v1alpha1.ReasonSecretNotFound, "vaultSecrets[0]: nothing at none"},
		"a key that is not there": {[]v1alpha1.VaultSecret{spreadSecret("", "a", func(s *v1alpha1.VaultSecret) { s.Keys = []string{"none"} })}, nil,
			v1alpha1.ReasonKeyMissing, `key "none": the secret a has no key "none"`},
		"a template that names no key": {[]v1alpha1.VaultSecret{spreadSecret("", "a")}, typo, v1alpha1.ReasonInvalidTemplate, `.usr: there is no such key`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := spreadFiles(t, builder.Connection("shop", "db", nil, builder.WithSecrets(row.secrets...), builder.WithFiles(row.files...)), there)
			g.Expect(fault.Is(err, row.reason)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(row.sentence)))
			g.Expect(len(err.Error())).To(BeNumerically("<", 600))
		})
	}
}

func TestWhatIsSpreadFromADynamicSecretIsListed(t *testing.T) {
	g := NewWithT(t)
	connection := builder.Connection("shop", "db", nil, builder.WithSecrets(spreadSecret("", "creds/app")))
	doc, err := newDocument(connection, nil)
	g.Expect(err).NotTo(HaveOccurred())
	p, err := newPlan("shop", connection.Spec.VaultSecrets, doc.references())
	g.Expect(err).NotTo(HaveOccurred())
	p.sources[0].dynamic, p.sources[0].path = true, "database/creds/app"
	g.Expect(doc.spreadRead(p.keysOf)).To(MatchError("vaultSecrets[0]: database/creds/app is made for each volume, and its keys are not known before; " +
		"list those that are spread in keys"))
	p.sources[0].dynamic, p.sources[0].deferred = false, true
	g.Expect(doc.spreadRead(p.keysOf)).To(Succeed())
	g.Expect(doc.open).To(BeTrue(), "only a pod can know")

	connection.Spec.VaultSecrets[0].Keys = []string{"username", "password"}
	doc, err = newDocument(connection, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(doc.value.Keys()).To(Equal([]string{"password", "username"}))
	g.Expect(doc.spreads).To(BeFalse())
	_, err = newPlan("shop", connection.Spec.VaultSecrets, doc.references())
	g.Expect(err).NotTo(HaveOccurred())
}

func FuzzSpread(f *testing.F) {
	for _, seed := range []string{"user", "pass word", "..", "\x00", "type", "a/b", strings.Repeat("x", 300), "\xff"} {
		f.Add(seed, "", seed)
	}
	f.Fuzz(func(t *testing.T, key, prefix, other string) {
		secret := spreadSecret("s", "a", func(s *v1alpha1.VaultSecret) { s.Prefix = prefix })
		there := map[string]map[string]any{"a": {key: "v", other: "w"}}
		files, err := spreadFiles(t, builder.Connection("shop", "db", nil, builder.WithSecrets(secret)), there)
		if err != nil {
			if len(err.Error()) > 2200 || strings.Contains(err.Error(), "\n") {
				t.Fatalf("not a sentence: %q", err)
			}
			return
		}
		for path := range files {
			if strings.Contains(path, "/") || strings.HasPrefix(path, "..") {
				t.Fatalf("a file %q", path)
			}
		}
	})
}
