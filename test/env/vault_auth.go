package env

import (
	"context"
	"strings"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// EnableAuth mounts an auth method: kubernetes, jwt, approle, userpass, ldap, cert.
func (v *Vault) EnableAuth(path, kind string) {
	must(v.client.Sys().EnableAuthWithOptions(path, &vaultapi.EnableAuthOptions{Type: kind}))
}

// DisableAuth unmounts an auth method; all its tokens die.
func (v *Vault) DisableAuth(path string) { must(v.client.Sys().DisableAuth(path)) }

// Write writes to any path and returns what Vault answers, as far as it is text.
func (v *Vault) Write(path string, data map[string]any) map[string]string {
	secret, err := v.client.Logical().Write(path, data)
	must(err)
	return textsOf(secret)
}

// Get reads any path and returns what Vault answers, as far as it is text.
func (v *Vault) Get(path string) map[string]string {
	secret, err := v.client.Logical().Read(path)
	must(err)
	return textsOf(secret)
}

// Wrap writes to a path and returns a response-wrapping token for the answer.
func (v *Vault) Wrap(path string, ttl time.Duration) string {
	wrapping, err := v.client.Clone()
	must(err)
	wrapping.SetToken(v.client.Token())
	wrapping.SetWrappingLookupFunc(func(string, string) string { return ttl.String() })
	secret, err := wrapping.Logical().Write(path, nil)
	must(err)
	return secret.WrapInfo.Token
}

// TokensFrom is how many tokens live that were made at a path, such as auth/approle/login.
func (v *Vault) TokensFrom(path string) int { return len(v.TokenTerms(path)) }

// TokenTerms is when each living token that was made at a path ends, by its accessor.
func (v *Vault) TokenTerms(path string) map[string]time.Time {
	list, err := v.client.Logical().List("auth/token/accessors")
	must(err)
	accessors, _ := list.Data["keys"].([]any)
	terms := map[string]time.Time{}
	for _, accessor := range accessors {
		id, _ := accessor.(string)
		found, err := v.client.Auth().Token().LookupAccessor(id)
		if err != nil {
			continue // it died meanwhile
		}
		if made, _ := found.Data["path"].(string); made != path {
			continue
		}
		ends, _ := found.Data["expire_time"].(string)
		terms[id], _ = time.Parse(time.RFC3339, ends) // none: zero
	}
	return terms
}

// RevokeAllFrom ends every token that was made below a path, as an administrator would: auth/approle/login.
func (v *Vault) RevokeAllFrom(path string) { must(v.client.Sys().RevokePrefix(path)) }

// TrustCluster configures an auth method of type kubernetes or jwt, mounted at path, to accept the cluster's service
// account tokens: the former asks the API server with a reviewer's token, the latter checks the signature with the keys
// that the API server publishes.
func (v *Vault) TrustCluster(ctx context.Context, cp *ControlPlane, path, kind string) {
	if kind == "jwt" {
		cp.bind(ctx, binding("test-issuer-discovery", "system:service-account-issuer-discovery",
			rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "system:unauthenticated"}))
		v.Write("auth/"+path+"/config", map[string]any{"jwks_url": strings.TrimSuffix(cp.Config.Host, "/") + "/openid/v1/jwks", "jwks_ca_pem": string(cp.Config.CAData)})
		return
	}
	const reviewer = "test-vault-reviewer"
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: reviewer}}
	must(client.IgnoreAlreadyExists(cp.Client.Create(ctx, account)))
	cp.bind(ctx, binding(reviewer, "system:auth-delegator",
		rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: Namespace, Name: reviewer}))
	token, err := cp.Clients.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, reviewer, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(err)
	v.Write("auth/"+path+"/config", map[string]any{
		"kubernetes_host": cp.Config.Host, "kubernetes_ca_cert": string(cp.Config.CAData),
		"token_reviewer_jwt": token.Status.Token, "disable_iss_validation": true,
	})
}

// bind creates a binding that may be there, and returns when it has an effect.
func (cp *ControlPlane) bind(ctx context.Context, binding *rbacv1.ClusterRoleBinding) {
	err := cp.Client.Create(ctx, binding)
	if err == nil {
		err = cp.AwaitRights(ctx)
	}
	must(client.IgnoreAlreadyExists(err))
}

func binding(name, role string, subject rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}
}

func textsOf(secret *vaultapi.Secret) map[string]string {
	texts := map[string]string{}
	if secret == nil {
		return texts
	}
	for key, value := range secret.Data {
		if text, ok := value.(string); ok {
			texts[key] = strings.TrimSpace(text)
		}
	}
	return texts
}
