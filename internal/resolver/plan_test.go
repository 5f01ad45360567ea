package resolver

import (
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/expression"
	"sallyport.dev/sallyport/test/builder"
)

func TestAKeyWithADotThatLacksItsQuotesIsToldThem(t *testing.T) {
	g := NewWithT(t)
	connection := builder.Connection("shop", "db", map[string]any{"cert": "vault.secret(tls.crt)"}, builder.WithSecret("shop/tls"))
	value, err := expression.ParseValue(connection.Spec.Value)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = newPlan("shop", connection.Spec.VaultSecrets, value.References())
	g.Expect(err).To(MatchError(`key "cert": vault.secret(tls.crt) names the secret "tls", which is not among vaultSecrets ` +
		`(none has a name); a key with a dot in it stands in quotes: vault.secret("tls.crt")`))
}
