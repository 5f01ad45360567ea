package transport

import (
	"fmt"
	"testing"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/test/redaction"
)

func TestNothingPrintsSecrets(t *testing.T) {
	const secret = redaction.Secret
	token := NewToken(secret)
	redaction.Check(t, map[string]any{
		"token":               token,
		"pointer to token":    &token,
		"unexported field":    struct{ hidden Token }{token},
		"map key":             map[string]Token{"t": token},
		"key pair":            KeyPair{PEM: token},
		"headers":             newHeaders([]header{{"X-A", token}}),
		"header":              header{"X-A", token},
		"config":              Config{Headers: newHeaders([]header{{"X-A", token}})},
		"transport":           &Transport{Config: Config{Headers: newHeaders([]header{{"X-A", token}})}},
		"request":             Request{Path: "x", Token: &token},
		"request with a body": Request{Path: "x", Body: map[string]string{"password": secret}},
		"response": &Response{
			Secret: vaultapi.Secret{Data: map[string]any{"a": secret}, Auth: &vaultapi.SecretAuth{ClientToken: secret}},
		},
		"response to a login": &Response{Auth: &ResponseAuth{SecretAuth: vaultapi.SecretAuth{ClientToken: secret}}},
	})
	g := NewWithT(t)
	auth := ResponseAuth{SecretAuth: vaultapi.SecretAuth{ClientToken: secret}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		g.Expect(fmt.Sprintf(verb, auth)).NotTo(ContainSubstring(secret))
		g.Expect(fmt.Sprintf(verb, &auth)).NotTo(ContainSubstring(secret))
	}
	g.Expect(fmt.Sprint(token)).To(Equal("[redacted]"))
	g.Expect(token.Reveal()).To(Equal(secret))
	g.Expect(Token{}.Reveal()).To(BeEmpty())
}
