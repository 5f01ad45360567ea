package resolver

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/builder"
)

// keptCase is a volume that holds files with dynamic secrets.
type keptCase struct {
	g         *WithT
	mutate    func(*v1alpha1.Connection)
	host, ttl string
	names     map[string]string // of what it holds, by name of the source
}

// files returns the files and the names of the dynamic secrets of a Connection with the sources user and other, which
// are dynamic, and where, which is not.
func (c keptCase) files() (*plan, map[string]dynamicFile) {
	connection := builder.Connection("shop", "db", map[string]any{
		"user": "vault.secret(user.name)", "password": "vault.secret(user.password)", "both": "vault.secret(other.name) vault.secret(user.name)",
		"host": "vault.secret(where.host)", "mixed": "vault.secret(user.name)@vault.secret(where.host)", "late": "vault.secret(user.name) vault.secret(where.ttl)",
	}, func(c *v1alpha1.Connection) {
		for _, name := range []string{"user", "other", "where"} {
			c.Spec.VaultSecrets = append(c.Spec.VaultSecrets, builder.VaultSecret(name, name))
		}
	})
	if c.mutate != nil {
		c.mutate(connection)
	}
	doc, err := newDocument(connection, nil)
	c.g.Expect(err).NotTo(HaveOccurred())
	p, err := newPlan("shop", connection.Spec.VaultSecrets, doc.references())
	c.g.Expect(err).NotTo(HaveOccurred())
	for name, s := range p.named {
		s.key, s.path = name, name
		if s.dynamic = name != "where"; s.dynamic {
			s.version = contentVersion(c.names[name])
		} else {
			s.secret = &secrets.Secret{Data: map[string]any{"host": c.host, "ttl": c.ttl}, Fleeting: []string{"ttl"}}
		}
	}
	files, err := doc.dynamicFiles(context.Background(), p)
	c.g.Expect(err).NotTo(HaveOccurred())
	return p, files
}

func TestOnlyFilesWhoseContentChangesGetOtherDynamicSecrets(t *testing.T) {
	g := NewWithT(t)
	held := map[string]string{"user": "held.1", "other": "held.2"}
	base := keptCase{g: g, host: "one", ttl: "90", names: held}
	_, files := base.files()
	digests := map[string]string{}
	for path, file := range files {
		if len(file.sources) > 0 {
			digests[path] = file.digest
		}
	}
	g.Expect(digests).To(HaveLen(5), "of host nothing is kept")
	for name, row := range map[string]struct {
		change func(*keptCase)
		kept   []string
	}{
		"nothing":                 {func(*keptCase) {}, []string{"user", "password", "both", "mixed", "late"}},
		"what counts down":        {func(c *keptCase) { c.ttl = "89" }, []string{"user", "password", "both", "mixed", "late"}},
		"a secret in one of them": {func(c *keptCase) { c.host = "two" }, nil},
		"one that is to be replaced": {func(c *keptCase) {
			c.names = map[string]string{"user": "held.1"}
		}, nil},
		"a file of its own": {func(c *keptCase) {
			c.mutate = func(c *v1alpha1.Connection) {
				c.Spec.Value["host"] = builder.JSON(map[string]any{"h": "new"})["h"]
				delete(c.Spec.Value, "password")
			}
		}, []string{"user", "both", "mixed", "late"}},
	} {
		t.Run(name, func(t *testing.T) {
			g, changed := NewWithT(t), base
			row.change(&changed)
			p, files := changed.files()
			var kept []string
			for path, keep := range p.keepFiles(files, digests) {
				if keep {
					kept = append(kept, path)
				}
			}
			g.Expect(kept).To(ConsistOf(row.kept))
			g.Expect(p.named["user"].held && p.named["other"].held).To(Equal(len(kept) > 0))
		})
	}
}

func TestWhatAFileHoldsAloneIsKeptWhereAnotherSecretIsReplaced(t *testing.T) {
	g := NewWithT(t)
	alone := func(c *v1alpha1.Connection) {
		c.Spec.Value = builder.JSON(map[string]any{"user": "vault.secret(user.name)", "other": "vault.secret(other.name)", "host": "vault.secret(where.host)"})
	}
	c := keptCase{g: g, mutate: alone, names: map[string]string{"user": "held.1", "other": "held.2"}}
	_, files := c.files()
	digests := map[string]string{"user": files["user"].digest, "other": files["other"].digest}
	c.names = map[string]string{"user": "held.1"}
	p, files := c.files()
	g.Expect(p.keepFiles(files, digests)).To(And(HaveKeyWithValue("user", true), HaveKeyWithValue("other", false)))
	g.Expect(p.named["user"].held).To(BeTrue())
	g.Expect(p.named["other"].held).To(BeFalse())
}
