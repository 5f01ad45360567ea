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

func TestAKeyWithADotThatLacksItsQuotesIsToldThem(t *testing.T) {
	g := NewWithT(t)
	connection := builder.Connection("shop", "db", map[string]any{"cert": "vault.secret(tls.crt)"}, builder.WithSecret("shop/tls"))
	value, err := expression.ParseValue(connection.Spec.Value)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = newPlan("shop", connection.Spec.VaultSecrets, value.References())
	g.Expect(err).To(MatchError(`key "cert": vault.secret(tls.crt) names the secret "tls", which is not among vaultSecrets ` +
		`(none has a name); a key with a dot in it stands in quotes: vault.secret("tls.crt")`))
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
