//go:build linux

package mounted

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

// newNamespace creates a namespace for one spec, with a VaultConfig "main" whose token may read every secret.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spec-"}}
	Expect(cp.Client.Create(ctx, namespace)).To(Succeed())
	config := &v1alpha1.VaultConfig{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "main"},
		Spec: v1alpha1.VaultConfigSpec{
			URL: vault.URL(), EnginePath: "secret", CACertificate: vault.CACertificate(),
			Auth: v1alpha1.VaultAuth{Token: &v1alpha1.TokenAuth{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "vault-token", Key: "token"}}},
		},
	}
	create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "vault-token"},
		StringData: map[string]string{"token": vault.Token(env.TokenOptions{Policies: []string{"all-secrets"}})},
	}, config)
	expectReady(config, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	return namespace.Name
}

// connection is a Connection with one secret attached, which is refreshed as often as the API allows.
func connection(namespace, name, path string, value map[string]any) *v1alpha1.Connection {
	GinkgoHelper()
	c := &v1alpha1.Connection{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.ConnectionSpec{
			Type: "test", Value: raw(value), RefreshInterval: &metav1.Duration{Duration: 5 * time.Second},
			VaultSecrets: []v1alpha1.VaultSecret{{VaultConfigRef: v1alpha1.VaultConfigReference{Name: "main"}, SecretPath: path}},
		},
	}
	return c
}

// raw encodes the value of a Connection.
var raw = env.JSONOf

func create(objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Expect(cp.Client.Create(ctx, object)).To(Succeed())
	}
}

// expectReady waits until the condition Ready of the object's current generation is as told, and returns its message.
func expectReady(object client.Object, status metav1.ConditionStatus, reason string) string {
	GinkgoHelper()
	var message string
	Eventually(func(g Gomega) {
		g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		var conditions []metav1.Condition
		switch o := object.(type) {
		case *v1alpha1.VaultConfig:
			conditions = o.Status.Conditions
		case *v1alpha1.Connection:
			conditions = o.Status.Conditions
		}
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.ObservedGeneration).To(Equal(object.GetGeneration()))
		g.Expect([]any{ready.Status, ready.Reason}).To(Equal([]any{status, reason}), ready.Message)
		message = ready.Message
	}).Should(Succeed())
	return message
}

var pods int

// newPod creates a pod that mounts a Connection. Its volume goes before the plugin does.
func newPod(namespace, connection string) *corev1.Pod {
	GinkgoHelper()
	pods++
	pod, err := node.CreatePod(ctx, namespace, fmt.Sprintf("app-%d", pods), map[string]string{v1alpha1.AttributeConnection: connection})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(plugin.Unpublish(ctx, pod)).To(Succeed()) })
	return pod
}

// mount publishes the volume of a new pod and returns its directory.
func mount(namespace, connection string) (*corev1.Pod, string) {
	GinkgoHelper()
	pod := newPod(namespace, connection)
	dir, err := plugin.Publish(ctx, pod)
	Expect(err).NotTo(HaveOccurred())
	return pod, dir
}
