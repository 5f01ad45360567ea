package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

func zapLevel(verbosity int8) zapcore.Level { return zapcore.Level(-verbosity) }

func create(objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Expect(cp.Client.Create(ctx, object)).To(Succeed())
	}
}

func secret() *corev1.Secret { return &corev1.Secret{} }

// tokenSecret keeps a new token in the namespace's Secret vault-token.
func tokenSecret(namespace string, options env.TokenOptions) string {
	GinkgoHelper()
	return tokenSecretNamed(namespace, "vault-token", options)
}

// tokenSecretNamed keeps a new token in a Secret of the namespace.
func tokenSecretNamed(namespace, name string, options env.TokenOptions) string {
	GinkgoHelper()
	token := vault.Token(options)
	remember(token)
	create(builder.TokenSecret(namespace, name, token))
	return token
}

// readyConfig gives a namespace a VaultConfig "main" whose token may read and write below secret/ and kv/.
func readyConfig(namespace string) {
	GinkgoHelper()
	readyConfigAt(namespace, vault.URL())
}

// readyConfigByProxy is readyConfig, by a proxy of the spec's own that counts the requests.
func readyConfigByProxy(namespace string) *env.Proxy {
	GinkgoHelper()
	proxy, err := env.StartProxy(vault)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(proxy.Close)
	readyConfigAt(namespace, proxy.URL())
	return proxy
}

func readyConfigAt(namespace, url string) {
	GinkgoHelper()
	tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
	config := vault.Config(namespace, "main", builder.WithURL(url))
	create(config)
	expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

// expectCondition waits until a condition of the object's current generation is as told and returns its message.
func expectCondition(object client.Object, conditionType string, status metav1.ConditionStatus, reason string, message ...types.GomegaMatcher) string {
	GinkgoHelper()
	var text string
	Eventually(func(g Gomega) {
		g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		condition := meta.FindStatusCondition(env.Conditions(object), conditionType)
		g.Expect(condition).NotTo(BeNil(), "there is no condition %s yet, but %v", conditionType, env.Conditions(object))
		g.Expect(condition.ObservedGeneration).To(Equal(object.GetGeneration()))
		g.Expect([]any{condition.Status, condition.Reason}).To(Equal([]any{status, reason}), condition.Message)
		for _, m := range message {
			g.Expect(condition.Message).To(m)
		}
		text = condition.Message
	}).Should(Succeed())
	return text
}

// reconfigure changes a VaultConfig's spec, and waits until the controller has taken it over and is well with it.
func reconfigure(config *v1alpha1.VaultConfig, mutate func(*v1alpha1.VaultConfig)) {
	GinkgoHelper()
	update(config, mutate)
	expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
}

// update changes an object's spec, whatever its status does meanwhile.
func update[T client.Object](object T, mutate func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		mutate(object)
		return cp.Client.Update(ctx, object)
	}).Should(Succeed())
}
