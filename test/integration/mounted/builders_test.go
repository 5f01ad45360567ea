//go:build linux

package mounted

import (
	"fmt"

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

// newNamespace creates a namespace for one spec, with a VaultConfig "main" whose token may read every secret.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spec-"}}
	Expect(cp.Client.Create(ctx, namespace)).To(Succeed())
	config := vault.Config(namespace.Name, "main")
	create(builder.TokenSecret(namespace.Name, "vault-token", vault.Token(env.TokenOptions{Policies: []string{"all-secrets"}})), config)
	expectReady(config, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	return namespace.Name
}

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
		ready := meta.FindStatusCondition(env.Conditions(object), v1alpha1.ConditionReady)
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
