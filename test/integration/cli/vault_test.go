package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// caFile is a file with the authority of Vault's certificate.
func caFile() string {
	GinkgoHelper()
	path := filepath.Join(GinkgoT().TempDir(), "ca.crt")
	Expect(os.WriteFile(path, []byte(vault.CACertificate()), 0o600)).To(Succeed())
	return path
}

// decode reads what a command printed as JSON.
func decode[T any](r result) (found T) {
	GinkgoHelper()
	Expect(json.Unmarshal([]byte(r.Out), &found)).To(Succeed(), "%s%s", r.Out, r.Err)
	return found
}

func kvMount(version string) *vaultapi.MountInput {
	return &vaultapi.MountInput{Type: "kv", Options: map[string]string{"version": version}}
}

// secretAt attaches a secret of another engine than the VaultConfig's.
func secretAt(name, engine, path string) v1alpha1.VaultSecret {
	secret := builder.VaultSecret(name, path)
	secret.EnginePath = engine
	return secret
}

// posted has a secret answer a write.
func posted(secret v1alpha1.VaultSecret, parameters map[string]any) v1alpha1.VaultSecret {
	GinkgoHelper()
	secret.Method = v1alpha1.SecretMethodPost
	if parameters != nil {
		raw, err := json.Marshal(parameters)
		Expect(err).NotTo(HaveOccurred())
		secret.Parameters = &apiextensionsv1.JSON{Raw: raw}
	}
	return secret
}

func metaMinute() *metav1.Duration { return &metav1.Duration{Duration: time.Minute} }
