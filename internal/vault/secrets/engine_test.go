package secrets

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestWhatMayBeVaultsOwn(t *testing.T) {
	for path, own := range map[string]string{
		"secret/oracle":                      "",
		"secret/authors":                     "",
		"auth/token/lookup-self":             "auth",
		"team-a/auth/token/lookup-self":      "auth",
		"team-a/cubbyhole/x":                 "cubbyhole",
		"sys/internal/counters":              "sys",
		"identity/oidc/token/role":           "identity",
		"kv/system":                          "",
		"database/creds/app":                 "",
		"nested/engine/secret/data/identity": "identity",
	} {
		NewWithT(t).Expect(SystemPath(path)).To(Equal(own), path)
	}
}
