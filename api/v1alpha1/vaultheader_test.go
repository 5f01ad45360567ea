package v1alpha1

import (
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestWhichHeadersHoldCredentials(t *testing.T) {
	g := NewWithT(t)
	for name, is := range map[string]bool{
		"X-Api-Key": true, "cookie": true, "CF-Access-Client-Secret": true, "Ocp-Apim-Subscription-KEY": true, "X-Auth-Token": true, "X-JWT-Assertion": true,
		"X-Tenant": false, "CF-Access-Client-Id": false, "X-Keyspace": false, "Monkey": false,
	} {
		g.Expect((&VaultHeader{Name: name}).HoldsCredential()).To(Equal(is), name)
	}
	// The rules of the CRD say the same.
	crd, err := os.ReadFile("../../config/crd/bases/sallyport.dev_vaultconfigs.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	flat := strings.ReplaceAll(strings.Join(strings.Fields(string(crd)), " "), "''", "'")
	g.Expect(flat).To(ContainSubstring(credentialName.String()))
	for _, name := range ownHeaders {
		g.Expect(flat).To(ContainSubstring("'"+name+"'"), name)
	}
	for _, prefix := range ownPrefixes {
		g.Expect(flat).To(ContainSubstring("startsWith('"+prefix+"')"), prefix)
	}
}
