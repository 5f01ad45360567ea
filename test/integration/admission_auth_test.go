package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("A user who writes a VaultConfig that logs in", func() {
	It("must be allowed to get each Secret, and to create each service account's token, that it refers to", func() {
		namespace := newNamespace()
		key := v1alpha1.SecretKeyReference{Name: "private", Key: "key"}
		grant(namespace, "mallory", configWriter)
		grant(namespace, "alice", configWriter,
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"private"}, Verbs: []string{"get"}},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"app"}, Verbs: []string{"create"}})
		grant(namespace, "carol", configWriter,
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}})
		const secret = "ask for the right to get Secret private in this namespace"
		const token = "ask for the right to create serviceaccounts/token of app in this namespace"
		const tokens = "workload: true sends tokens of the pods that mount a Connection to this Vault"
		account := func(name string) *v1alpha1.ServiceAccountAuth {
			auth := &v1alpha1.ServiceAccountAuth{Role: "app", ServiceAccountName: name}
			if name == "" {
				auth.Workload = new(true)
			}
			return auth
		}
		for name, test := range map[string]struct {
			auth          v1alpha1.VaultAuth
			refusal, good string
		}{
			"approle":  {v1alpha1.VaultAuth{AppRole: &v1alpha1.AppRoleAuth{RoleID: "r", SecretIDSecretKeyRef: key}}, secret, "alice"},
			"userpass": {v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{Username: "u", PasswordSecretKeyRef: key}}, secret, "alice"},
			"ldap":     {v1alpha1.VaultAuth{LDAP: &v1alpha1.PasswordAuth{Username: "u", PasswordSecretKeyRef: key}}, secret, "alice"},
			"cert": {v1alpha1.VaultAuth{Cert: &v1alpha1.CertAuth{
				ClientCertificateSecretRef: v1alpha1.TLSSecretReference{Name: "private"},
			}}, secret, "alice"},
			"kubernetes":          {v1alpha1.VaultAuth{Kubernetes: account("app")}, token, "alice"},
			"jwt":                 {v1alpha1.VaultAuth{JWT: account("app")}, token, "alice"},
			"kubernetes-workload": {v1alpha1.VaultAuth{Kubernetes: account("")}, tokens, "carol"},
			"jwt-workload":        {v1alpha1.VaultAuth{JWT: account("")}, tokens, "carol"},
		} {
			config := func(kind string) *v1alpha1.VaultConfig {
				return vault.Config(namespace, name+"-"+kind, builder.WithAuth(test.auth))
			}
			Eventually(func() error { // until the grants have reached the authorizer
				return as("mallory", "").Create(ctx, config("bad"))
			}).Should(MatchError(ContainSubstring(test.refusal)), name)
			Eventually(func() error { return as(test.good, "").Create(ctx, config("good")) }).Should(Succeed(), name)
			if test.good == "carol" {
				Expect(as("alice", "").Create(ctx, config("bad"))).To(MatchError(ContainSubstring(tokens)), name)
			}
		}
	})
})
