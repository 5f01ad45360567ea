package integration

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/env"
)

// as returns a client that acts as a user.
func as(user, podName string) client.Client {
	GinkgoHelper()
	c, err := client.New(cp.As(user, podName), client.Options{Scheme: cp.Scheme})
	Expect(err).NotTo(HaveOccurred())
	return c
}

var _ = Describe("The ConfigMap with the resolvers' certificates", func() {
	const controller = "system:serviceaccount:" + env.Namespace + ":sallyport-controller"

	certificates := func() *corev1.ConfigMap {
		GinkgoHelper()
		configMap := &corev1.ConfigMap{}
		Eventually(func() error {
			return cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: resolverv1.ConfigMapName}, configMap)
		}).Should(Succeed())
		return configMap
	}

	It("holds one entry for a replica, and nothing but certificates", func() {
		Expect(certificates().Data).To(HaveKeyWithValue(replica.PodName, And(
			ContainSubstring("BEGIN CERTIFICATE"), Not(ContainSubstring("PRIVATE")))))
	})

	It("is not written by a cluster administrator either", func() {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"mine":"certificate"}}`))
		Expect(cp.Client.Patch(ctx, certificates(), patch)).To(MatchError(ContainSubstring("only Sallyport's controller may write")))
	})

	It("is not written by a replica under another's name", func() {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"`+replica.PodName+`":"forged"}}`))
		Expect(as(controller, "another-pod").Patch(ctx, certificates(), patch)).To(
			MatchError(ContainSubstring("only under the name of its own pod")))
	})

	It("loses the entry of a replica that crashed", func() {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"crashed":"certificate"}}`))
		Expect(as(controller, "crashed").Patch(ctx, certificates(), patch)).To(Succeed())
		Eventually(func() map[string]string { return certificates().Data }, "45s").ShouldNot(HaveKey("crashed"))
	})

	It("loses the entry of a replica that stops", func() {
		second, err := cp.StartController(ctx, "sallyport-controller-1", log)
		Expect(err).NotTo(HaveOccurred())
		Expect(certificates().Data).To(HaveKey("sallyport-controller-1"))
		Expect(second.Stop()).To(Succeed())
		Eventually(func() map[string]string { return certificates().Data }).ShouldNot(HaveKey("sallyport-controller-1"))
	})
})

// grant gives a user rights in a namespace.
func grant(namespace, user string, rules ...rbacv1.PolicyRule) {
	GinkgoHelper()
	create(
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user}, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: user},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		},
	)
	Expect(cp.AwaitRights(ctx)).To(Succeed())
}

var configWriter = rbacv1.PolicyRule{
	APIGroups: []string{"sallyport.dev"}, Resources: []string{"vaultconfigs"}, Verbs: []string{"create", "get", "patch"},
}

var _ = Describe("A user who writes a VaultConfig", func() {
	It("must be allowed to get the Secrets that it refers to", func() {
		namespace := newNamespace()
		reader := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"vault-token"}, Verbs: []string{"get"}}
		grant(namespace, "mallory", configWriter)
		grant(namespace, "alice", configWriter, reader)

		config := vault.Config(namespace, "main")
		var err error
		Eventually(func() error { // until the grants have reached the authorizer
			err = as("mallory", "").Create(ctx, config.DeepCopy())
			return err
		}).Should(MatchError(ContainSubstring("ask for the right to get Secret vault-token in this namespace")))
		Expect(apierrors.IsForbidden(err)).To(BeTrue())
		Eventually(func() error { return as("alice", "").Create(ctx, config) }).Should(Succeed())

		By("for a CA certificate from a Secret too")
		other := vault.Config(namespace, "other", func(c *v1alpha1.VaultConfig) {
			c.Spec.CACertificate = ""
			c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "private", Key: "ca"}}
		})
		Expect(as("alice", "").Create(ctx, other)).To(MatchError(ContainSubstring("ask for the right to get Secret vault-token and Secret private in this namespace")))

		By("for a client certificate too")
		shown := vault.Config(namespace, "shown", func(c *v1alpha1.VaultConfig) {
			c.Spec.TLS = &v1alpha1.VaultTLS{ClientCertificateSecretRef: &v1alpha1.TLSSecretReference{Name: "client"}}
		})
		Expect(as("alice", "").Create(ctx, shown)).To(MatchError(ContainSubstring("ask for the right to get Secret vault-token and Secret client in this namespace")))

		By("for a header too")
		headed := vault.Config(namespace, "headed", func(c *v1alpha1.VaultConfig) {
			c.Spec.Headers = []v1alpha1.VaultHeader{
				{Name: "X-Tenant", Value: "shop"},
				{Name: "X-Api-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "gateway", Key: "key"}},
			}
		})
		Expect(as("alice", "").Create(ctx, headed)).To(MatchError(ContainSubstring("ask for the right to get Secret vault-token and Secret gateway in this namespace")))

		By("but a label may be changed without that right")
		patch := func(body string) error { // not an update: the controller writes status at the same time
			return as("mallory", "").Patch(ctx, config.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(body)))
		}
		Expect(patch(`{"metadata":{"labels":{"team":"shop"}}}`)).To(Succeed())
		Expect(patch(`{"spec":{"url":"https://evil.example.com:8200"}}`)).To(MatchError(ContainSubstring("ask for the right to get Secret vault-token in this namespace")))
	})
})

var _ = Describe("The admission policies", func() {
	It("know every field of a VaultConfig that refers to a Secret or a service account", func() {
		root, err := env.Root()
		Expect(err).NotTo(HaveOccurred())
		policy := func(name string) string {
			GinkgoHelper()
			content, err := os.ReadFile(filepath.Join(root, "config", "admission", name))
			Expect(err).NotTo(HaveOccurred())
			return string(content)
		}
		secrets, accounts := policy("secret-references.yaml"), policy("service-account-references.yaml")
		found := 0
		references(reflect.TypeFor[v1alpha1.VaultConfigSpec](), "object.spec", func(path string, field reflect.StructField) {
			switch {
			case strings.HasPrefix(field.Name, "ServiceAccountName"):
				Expect(accounts).To(ContainSubstring(path))
			case strings.HasSuffix(field.Type.String(), "SecretKeyReference"), strings.HasSuffix(field.Type.String(), "SecretReference"):
				Expect(secrets).To(ContainSubstring(path + ".?name"))
				found++
			}
		})
		Expect(found).To(BeNumerically(">=", 3))
	})
})

// references calls each for every field below a type of the API, with the path that CEL has for it.
func references(of reflect.Type, path string, each func(path string, field reflect.StructField)) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return
	}
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		each(path+".?"+name, field)
		below := path + ".?" + name
		if field.Type.Kind() == reflect.Slice {
			item := strings.TrimSuffix(name, "s")
			below += ".orValue([]).map(" + item + ", " + item
		}
		references(field.Type, below, each)
	}
}
