package resolver

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func TestAReferenceToNoAttachedSecretIsToldWhatMayBeMeant(t *testing.T) {
	named := func(names ...string) []v1alpha1.VaultSecret {
		var secrets []v1alpha1.VaultSecret
		for _, name := range names {
			secrets = append(secrets, builder.VaultSecret(name, "shop/"+name))
		}
		return secrets
	}
	const dotted = "; a key with a dot in it stands in quotes: "
	for reference, test := range map[string]struct {
		attached []v1alpha1.VaultSecret
		sentence string
	}{
		"vault.secret(tls.crt)": {named(""), `names the secret "tls", which is not among vaultSecrets (none has a name); ` +
			"give the secret that is meant this name" + dotted + `vault.secret("tls.crt")`},
		"vault.secret(tls.key)": {named("db"), `names the secret "tls", which is not among vaultSecrets (db); ` +
			"write vault.secret(db.key), or give the secret that is meant this name" + dotted + `vault.secret(db."tls.key")`},
		`vault.secret(dbb.user, "x")`: {named("db", "web"), `names the secret "dbb", which is not among vaultSecrets (db, web); ` +
			`write vault.secret(db.user, "x") or vault.secret(web.user, "x"), or give the secret that is meant this name` + dotted +
			`vault.secret("dbb.user", "x")`},
		"vault.secret(a.b.c)": {named("db"), `names the secret "a", which is not among vaultSecrets (db); ` +
			"write vault.secret(db.b.c), or give the secret that is meant this name" + dotted + `vault.secret(db."a.b.c")`},
		"vault.secret(a.*)": {named("db"), `names the secret "a", which is not among vaultSecrets (db); ` +
			"write vault.secret(db.*), or give the secret that is meant this name"},
		"vault.secret(user)": {nil, "needs an attached secret, and there is none; name a VaultConfig and the path: " +
			"vault.secret(CONFIG:PATH.user); a Connection can also attach one (vaultSecrets)"},
	} {
		t.Run(reference, func(t *testing.T) {
			g := NewWithT(t)
			connection := builder.Connection("shop", "db", map[string]any{"cert": reference}, builder.WithSecrets(test.attached...))
			value, err := expression.ParseValue(connection.Spec.Value)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = newPlan("shop", connection.Spec.VaultSecrets, value.References())
			g.Expect(err).To(MatchError(`key "cert": ` + reference + " " + test.sentence))
		})
	}
}

func TestThePathsOfAllSecretsTogetherAreBounded(t *testing.T) {
	g := NewWithT(t)
	planned := func(length int) error {
		value, secrets := map[string]any{}, []v1alpha1.VaultSecret{}
		for i := range 64 {
			name := fmt.Sprintf("s%d", i)
			value[name] = fmt.Sprintf("vault.secret(%s.key)", name)
			secrets = append(secrets, builder.VaultSecret(name, strings.Repeat("p", length)))
		}
		connection := builder.Connection("shop", "db", value, builder.WithSecrets(secrets...))
		parsed, err := expression.ParseValue(connection.Spec.Value)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = newPlan("shop", connection.Spec.VaultSecrets, parsed.References())
		return err
	}
	g.Expect(planned(1000)).To(Succeed())
	err := planned(1100)
	g.Expect(fault.Is(err, v1alpha1.ReasonTooLarge)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(ContainSubstring("the paths of its 64 secrets, with their VaultConfigs, take ")))
	g.Expect(err).To(MatchError(ContainSubstring("use several Connections")))
}
