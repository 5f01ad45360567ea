package secrets

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/redaction"
)

func TestNothingPrintsSecrets(t *testing.T) {
	const secret = redaction.Secret
	read := &Secret{Path: "secret/data/db", Version: 3, Data: map[string]any{"password": secret}}
	redaction.Check(t, map[string]any{
		"secret":                 read,
		"secret by value":        *read,
		"secret in a struct":     struct{ S *Secret }{read},
		"secrets":                []Secret{*read},
		"secret in an interface": any(read),
		"dynamic secret":         &Issued{Secret: *read, Lease: Lease{ID: NewLeaseID("", secret)}},
		"lease":                  Lease{ID: NewLeaseID("", secret)},
		"lease ID":               NewLeaseID("", secret),
		"wrapped token":          WrappedToken{Token: transport.NewToken(secret)},
	})
	NewWithT(t).Expect(fmt.Sprintf("%+v", read)).To(Equal("secret/data/db version 3 [values redacted]"))
}
