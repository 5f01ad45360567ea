package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
		const tokens = "workload: true sends tokens of the pods that mount a Connection, and of VaultTasks, to this Vault"
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

	It("must be allowed to create tokens in the whole cluster, if pods of other namespaces are to log in", func() {
		namespace := newNamespace()
		grant(namespace, "carol", configWriter,
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}})
		grant(namespace, "operator", configWriter)
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: namespace}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"},
		}}}
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: namespace}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: namespace},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "operator"}},
		}
		create(role, binding)
		DeferCleanup(func() { _, _ = cp.Client.Delete(ctx, binding), cp.Client.Delete(ctx, role) })
		const refusal = "ask for the right to create serviceaccounts/token in all namespaces (a ClusterRoleBinding)"
		for name, of := range map[string]func(*v1alpha1.ServiceAccountAuth) v1alpha1.VaultAuth{
			"kubernetes": func(a *v1alpha1.ServiceAccountAuth) v1alpha1.VaultAuth { return v1alpha1.VaultAuth{Kubernetes: a} },
			"jwt":        func(a *v1alpha1.ServiceAccountAuth) v1alpha1.VaultAuth { return v1alpha1.VaultAuth{JWT: a} },
		} {
			config := vault.Config(namespace, name, builder.WithAuth(of(&v1alpha1.ServiceAccountAuth{
				Role: "app", Workload: new(true), WorkloadScope: v1alpha1.WorkloadScopeAllowedNamespaces,
			})))
			Eventually(func() error { return as("carol", "").Create(ctx, config.DeepCopy()) }).Should(MatchError(ContainSubstring(refusal)), name)
			Eventually(func() error { return as("operator", "").Create(ctx, config) }).Should(Succeed(), name)
			By("an edit by somebody who may less, which would send the tokens elsewhere")
			before := config.DeepCopy()
			config.Spec.URL = "https://mallory.example.com"
			Expect(as("carol", "").Patch(ctx, config, client.MergeFrom(before))).To(MatchError(ContainSubstring(refusal)), name)
		}
	})
})
