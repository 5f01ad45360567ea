package integration

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultConfig that cannot work says why, and what cures it", func() {
	DescribeTable("before Vault is asked",
		func(reason, sentence string, mutate func(*v1alpha1.VaultConfig)) {
			namespace := newNamespace()
			tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
			create(
				&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "odd"}, Data: map[string][]byte{
					"empty": nil, "spaces": []byte("hvs. with spaces"), "newline": []byte("hvs.a\nb"),
				}},
				&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "odd"}, Data: map[string]string{"no-pem": "certificate"}},
			)
			config := vaultConfig(namespace, "main", mutate)
			create(config)
			expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, ContainSubstring(strings.ReplaceAll(sentence, "NS", namespace)))
		},
		Entry("http instead of https", v1alpha1.ReasonInvalidSpec, "spec.url",
			func(c *v1alpha1.VaultConfig) { c.Spec.URL = strings.Replace(c.Spec.URL, "https", "http", 1) }),
		Entry("a URL with a path", v1alpha1.ReasonInvalidSpec, "spec.url", func(c *v1alpha1.VaultConfig) { c.Spec.URL += "/v1" }),
		Entry("a URL with credentials", v1alpha1.ReasonInvalidSpec, "spec.url",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.URL = strings.Replace(c.Spec.URL, "https://", "https://user:pass@", 1)
			}),
		Entry("a CA that is no PEM", v1alpha1.ReasonInvalidSpec, "spec.caCertificate",
			func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "certificate" }),
		Entry("a CA ConfigMap that does not exist", v1alpha1.ReasonCredentialMissing, "ConfigMap NS/none",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificate = ""
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "none", Key: "ca"}}
			}),
		Entry("a Secret that does not exist", v1alpha1.ReasonCredentialMissing, "Secret NS/none",
			func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Name = "none" }),
		Entry("a Secret without the key", v1alpha1.ReasonCredentialMissing, `"none"`,
			func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Key = "none" }),
		Entry("a Secret with an empty key", v1alpha1.ReasonCredentialMissing, `"empty"`,
			func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth.Token.SecretKeyRef = v1alpha1.SecretKeyReference{Name: "odd", Key: "empty"}
			}),
	)

	It("when Vault's certificate is signed by another authority", func() {
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vaultConfig(namespace, "main", func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "" })
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTLSFailed, ContainSubstring("caCertificate"))
	})

	It("when nothing listens at the URL", func() {
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vaultConfig(namespace, "main", func(c *v1alpha1.VaultConfig) { c.Spec.URL = "https://127.0.0.1:1" })
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable, ContainSubstring("connection refused"))
		expectCondition(config, v1alpha1.ConditionReachable, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable)
	})

	It("when the token is unknown to Vault, and takes up a good one at once", func() {
		namespace := newNamespace()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "vault-token"}, Data: map[string][]byte{"token": []byte("hvs.nobody-knows-me")}}
		config := vaultConfig(namespace, "main")
		create(secret, config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed, ContainSubstring("Secret "+namespace+"/vault-token"))
		expectCondition(config, v1alpha1.ConditionAuthenticated, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)
		token := vault.Token(env.TokenOptions{Policies: []string{"all-secrets"}})
		remember(token)
		update(secret, func(s *corev1.Secret) { s.Data["token"] = []byte(token) })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("at admission, when no auth method is set", func() {
		config := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "VaultConfig",
			"metadata": map[string]any{"name": "main", "namespace": newNamespace()},
			"spec":     map[string]any{"url": vault.URL(), "auth": map[string]any{}},
		}}
		Expect(cp.Client.Create(ctx, config)).To(MatchError(ContainSubstring("exactly one of the fields in [token kubernetes jwt appRole userPass ldap cert] must be set")))
	})

	DescribeTable("at admission",
		func(message string, mutate func(*v1alpha1.VaultConfig)) {
			config := vaultConfig(newNamespace(), "main", mutate)
			Expect(cp.Client.Create(ctx, config)).To(MatchError(ContainSubstring(message)))
		},
		Entry("no auth", "spec.auth: Required value", func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token = nil }),
		Entry("no URL", "spec.url", func(c *v1alpha1.VaultConfig) { c.Spec.URL = "" }),
		Entry("two CA certificates", "set caCertificate or caCertificateFrom, not both",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca"}}
			}),
		Entry("a CA certificate from nowhere", "set exactly one of configMapKeyRef and secretKeyRef",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificate = ""
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{}
			}),
	)
})
