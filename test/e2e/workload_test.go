package e2e

import (
	"context"
	"os"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// acceptAccount has Vault accept a service account of the tenant, by the kubernetes method and its role "apps", with
// tokens for the audience "vault". It returns where the method is mounted.
func (t *tenant) acceptAccount(ctx context.Context, account string) string {
	GinkgoHelper()
	mount := "kubernetes-" + t.namespace
	reviewer := &corev1.ServiceAccount{ObjectMeta: t.meta("reviewer")}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: mount},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: t.namespace, Name: reviewer.Name}},
	}
	create(ctx, reviewer, binding)
	DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, binding)).To(Succeed()) })
	token := &authenticationv1.TokenRequest{}
	Expect(api.SubResource("token").Create(ctx, reviewer, token)).To(Succeed())

	Expect(vault.Sys().EnableAuthWithOptionsWithContext(ctx, mount, &vaultapi.EnableAuthOptions{Type: "kubernetes"})).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(vault.Sys().DisableAuthWithContext(ctx, mount)).To(Succeed()) })
	authority, err := os.ReadFile(restConfig.CAFile)
	Expect(err).NotTo(HaveOccurred())
	for path, data := range map[string]map[string]any{
		"config": {"kubernetes_host": restConfig.Host, "kubernetes_ca_cert": string(authority), "token_reviewer_jwt": token.Status.Token},
		"role/apps": {
			"bound_service_account_names": account, "bound_service_account_namespaces": t.namespace,
			"audience": "vault", "token_policies": t.namespace,
		},
	} {
		_, err := vault.Logical().WriteWithContext(ctx, "auth/"+mount+"/"+path, data)
		Expect(err).NotTo(HaveOccurred())
	}
	return mount
}

var _ = Describe("A VaultConfig with workload: true", func() {
	It("logs each pod in with the token that the kubelet made for it", func(ctx SpecContext) {
		t := newTenant(ctx)
		web := &corev1.ServiceAccount{ObjectMeta: t.meta("web")}
		create(ctx, web)
		mount := t.acceptAccount(ctx, web.Name)

		config := t.vaultConfig(mainConfig)
		config.Spec.Auth = v1alpha1.VaultAuth{Kubernetes: &v1alpha1.ServiceAccountAuth{
			Mount: v1alpha1.MountPath(mount), Role: "apps", Workload: new(true),
		}}
		password := newSecret("password read by the pod itself")
		t.put(ctx, "db", map[string]any{"password": password})
		create(ctx, config, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
		expectReady(ctx, config)

		allowed := t.pod("db")
		allowed.Spec.ServiceAccountName = web.Name
		create(ctx, allowed)
		expectRuns(ctx, allowed, eventual)
		expectFile(allowed, "password", password)
		expectFailedMount(ctx, t.start(ctx, "db"), v1alpha1.ReasonAuthFailed, "the role does not allow service account "+t.namespace+"/default")
	}, SpecTimeout(2*eventual))
})
