package e2e

import (
	"context"
	"fmt"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const (
	engine      = builder.EnginePath // KV version 2
	mainConfig  = builder.ConfigName
	tokenSecret = builder.TokenSecretName
)

// tenant is a namespace with its own corner of Vault: the paths that begin with the namespace's name, a policy for them
// and a token with that policy in the Secret vault-token.
type tenant struct {
	namespace string
}

// newTenant makes a tenant for as long as the spec, or its ordered container, lasts.
func newTenant(ctx context.Context) *tenant {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}
	Expect(api.Create(ctx, namespace)).To(Succeed())
	t := &tenant{namespace: namespace.Name}
	DeferCleanup(func(ctx SpecContext) {
		keepObjects(ctx, t.namespace)
		Expect(client.IgnoreNotFound(api.Delete(ctx, namespace))).To(Succeed())
	}, NodeTimeout(soon))
	t.allow(ctx, t.namespace+"/*")
	t.keepToken(ctx, tokenSecret, t.newToken(ctx, nil))
	Eventually(ctx, func() error {
		return api.Get(ctx, t.key("default"), &corev1.ServiceAccount{})
	}).WithTimeout(soon).Should(Succeed(), "service account for pods")
	return t
}

// newReadyTenant makes a tenant whose VaultConfig "main" is ready.
func newReadyTenant(ctx context.Context) *tenant {
	GinkgoHelper()
	t := newTenant(ctx)
	config := t.vaultConfig(mainConfig)
	create(ctx, config)
	expectReady(ctx, config)
	return t
}

func (t *tenant) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: t.namespace, Name: name}
}

func (t *tenant) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: t.namespace, Name: name}
}

// allow sets the paths of the engine that the tenant's tokens may use.
func (t *tenant) allow(ctx context.Context, paths ...string) {
	GinkgoHelper()
	rules := ""
	for _, path := range paths {
		rules += fmt.Sprintf(`
path "%[1]s/data/%[2]s" { capabilities = ["create", "update", "read"] }
path "%[1]s/metadata/%[2]s" { capabilities = ["read"] }`, engine, path)
	}
	Expect(vault.Sys().PutPolicyWithContext(ctx, t.namespace, rules)).To(Succeed())
}

// newToken makes a token with the tenant's policy, by default one that lives for an hour and can be renewed.
func (t *tenant) newToken(ctx context.Context, change func(*vaultapi.TokenCreateRequest)) string {
	GinkgoHelper()
	request := &vaultapi.TokenCreateRequest{Policies: []string{t.namespace}, TTL: "1h"}
	if change != nil {
		change(request)
	}
	created, err := vault.Auth().Token().CreateOrphanWithContext(ctx, request)
	Expect(err).NotTo(HaveOccurred())
	canaries.allowInSecrets("a Vault token of "+t.namespace, created.Auth.ClientToken)
	canaries.forbidAccessor("the accessor of a Vault token of "+t.namespace, created.Auth.Accessor)
	return created.Auth.ClientToken
}

// keepToken puts a token into a Secret, replacing what is in it.
func (t *tenant) keepToken(ctx context.Context, name, token string) {
	GinkgoHelper()
	secret := builder.TokenSecret(t.namespace, name, token)
	if err := api.Update(ctx, secret); err != nil {
		create(ctx, secret)
	}
}

// put writes a secret to the tenant's corner of Vault.
func (t *tenant) put(ctx context.Context, path string, data map[string]any) {
	GinkgoHelper()
	_, err := vault.KVv2(engine).Put(ctx, t.namespace+"/"+path, data)
	Expect(err).NotTo(HaveOccurred())
}

// vaultConfig builds a VaultConfig that uses the tenant's token.
func (t *tenant) vaultConfig(name string) *v1alpha1.VaultConfig {
	return builder.VaultConfig(t.namespace, name, builder.WithAddress(vault.Address(), vaultCA))
}

// secretAt attaches the tenant's secret at a path, read with the VaultConfig "main".
func (t *tenant) secretAt(path string) v1alpha1.VaultSecret {
	return builder.VaultSecret("", t.namespace+"/"+path)
}

// connection builds a Connection that looks at Vault as often as it may.
func (t *tenant) connection(name string, value map[string]any, secrets ...v1alpha1.VaultSecret) *v1alpha1.Connection {
	GinkgoHelper()
	return builder.Connection(t.namespace, name, value,
		builder.WithType("SQLORACLE"), builder.WithSecrets(secrets...), builder.WithRefreshInterval(refreshInterval))
}

func create(ctx context.Context, objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Expect(api.Create(ctx, object)).To(Succeed(), "creating %T %s", object, object.GetName())
	}
}

// change changes an object as it is now.
func change[T client.Object](ctx context.Context, object T, edit func(T)) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		edit(object)
		g.Expect(api.Update(ctx, object)).To(Succeed())
	}).WithTimeout(soon).Should(Succeed())
}

// condition returns a condition of an object as it is now, nil if there is none yet for its present generation.
func condition(ctx context.Context, object client.Object, conditionType string) *metav1.Condition {
	GinkgoHelper()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	found := meta.FindStatusCondition(env.Conditions(object), conditionType)
	if found != nil && found.ObservedGeneration != object.GetGeneration() {
		return nil
	}
	return found
}

// expectCondition waits until a condition has a status and a reason.
func expectCondition(ctx context.Context, object client.Object, conditionType string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	GinkgoHelper()
	var found *metav1.Condition
	Eventually(ctx, func(g Gomega) {
		found = condition(ctx, object, conditionType)
		g.Expect(found).NotTo(BeNil(), "condition %s of %T %s", conditionType, object, object.GetName())
		g.Expect(string(found.Status)+" "+found.Reason).To(Equal(string(status)+" "+reason), "condition %s of %T %s: %s",
			conditionType, object, object.GetName(), found.Message)
	}).WithTimeout(eventual).Should(Succeed())
	return found
}

func expectReady(ctx context.Context, object client.Object) {
	GinkgoHelper()
	expectCondition(ctx, object, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

func expectNotReady(ctx context.Context, object client.Object, reason string) *metav1.Condition {
	GinkgoHelper()
	return expectCondition(ctx, object, v1alpha1.ConditionReady, metav1.ConditionFalse, reason)
}
