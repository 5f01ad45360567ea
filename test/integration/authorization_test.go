package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A forged request", func() {
	var (
		namespace string
		pod       *corev1.Pod
		caller    *caller
	)

	BeforeEach(func() {
		namespace = newNamespace()
		create(builder.Connection(namespace, "oracle", map[string]any{"host": "h"}), builder.Connection(namespace, "other", map[string]any{"host": "h"}))
		pod = newPod(namespace, map[string]string{"connection": "oracle", "value.host": "mine"})
		caller = newCaller(replica)
		// The control: the same request, unforged, is answered.
		response, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("host", "mine"))
	})

	podToken := func(pod *corev1.Pod, audience string) string {
		GinkgoHelper()
		token, err := cp.PodToken(ctx, pod, audience)
		Expect(err).NotTo(HaveOccurred())
		remember(token)
		return token
	}
	resolve := func(token string, attributes map[string]string) error {
		_, err := caller.client.Resolve(ctx, &resolverv1.ResolveRequest{PodToken: token, VolumeAttributes: attributes})
		return err
	}
	attributes := map[string]string{"connection": "oracle", "value.host": "mine"}

	It("without a pod's token is refused", func() {
		expectFault(resolve("", attributes), v1alpha1.ReasonNotAllowed, "the pod's token is missing")
	})

	It("with garbage for a token is refused", func() {
		expectFault(resolve("garbage", attributes), v1alpha1.ReasonNotAllowed, "the pod's token is not valid")
	})

	It("with the pod's token for another audience is refused", func() {
		for _, audience := range []string{v1alpha1.AudienceNode, "https://kubernetes.default.svc", "vault"} {
			expectFault(resolve(podToken(pod, audience), attributes), v1alpha1.ReasonNotAllowed, "the pod's token is not valid for audience sallyport.dev")
		}
	})

	It("with a service account's token that no pod is bound to is refused", func() {
		request, err := cp.Clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{v1alpha1.AudiencePod}},
		}, metav1.CreateOptions{})
		Expect(err).NotTo(HaveOccurred())
		remember(request.Status.Token)
		expectFault(resolve(request.Status.Token, attributes), v1alpha1.ReasonNotAllowed, "is not bound to a pod")
	})

	It("with the token of a pod of another node is refused", func() {
		elsewhere, err := cp.CreateNode(ctx, "node-of-"+namespace)
		Expect(err).NotTo(HaveOccurred())
		foreign, err := elsewhere.CreatePod(ctx, namespace, "foreign", attributes)
		Expect(err).NotTo(HaveOccurred())
		expectFault(resolve(podToken(foreign, v1alpha1.AudiencePod), attributes), v1alpha1.ReasonNotAllowed, "runs on node node-of-"+namespace+", and node node-a asked")
	})

	It("with the token of a pod that has no node is refused", func() {
		floating := newPod(namespace, attributes, func(p *corev1.Pod) { p.Spec.NodeName = "" })
		expectFault(resolve(podToken(floating, v1alpha1.AudiencePod), attributes), v1alpha1.ReasonNotAllowed, "does not say on which node")
	})

	It("with the token of a pod that is gone is refused", func() {
		token := podToken(pod, v1alpha1.AudiencePod)
		Expect(cp.Client.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		// A token that was reviewed before works for at most ten seconds longer; this one was not.
		Eventually(func() error { return resolve(token, attributes) }, 15*time.Second, time.Second).Should(
			MatchError(ContainSubstring("the pod's token is not valid")))
	})

	It("for a Connection that is not in the pod's spec is refused", func() {
		expectFault(resolve(podToken(pod, v1alpha1.AudiencePod), map[string]string{"connection": "other"}),
			v1alpha1.ReasonNotAllowed, "has no volume of driver csi.sallyport.dev with the attributes that were asked for")
	})

	It("with other overrides than the pod's spec has is refused", func() {
		for _, forged := range []map[string]string{
			{"connection": "oracle"},
			{"connection": "oracle", "value.host": "forged"},
			{"connection": "oracle", "value.host": "mine", "value.type": "x"},
		} {
			expectFault(resolve(podToken(pod, v1alpha1.AudiencePod), forged), v1alpha1.ReasonNotAllowed, "has no volume")
		}
	})

	It("with another pod's token gets what that pod mounts, and nothing else", func() {
		other := newPod(namespace, map[string]string{"connection": "other"})
		expectFault(resolve(podToken(other, v1alpha1.AudiencePod), attributes), v1alpha1.ReasonNotAllowed, "has no volume")
	})

	It("from anybody but the node plugin is refused", func() {
		caller.useToken(podToken(pod, v1alpha1.AudienceNode))
		expectFault(resolve(podToken(pod, v1alpha1.AudiencePod), attributes), v1alpha1.ReasonNotAllowed,
			"the resolver serves only the node plugin, and the caller is system:serviceaccount:"+namespace+":default")
	})

	It("with the node plugin's token for another audience is refused", func() {
		plugin := &corev1.Pod{}
		Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-node-node-a"}, plugin)).To(Succeed())
		for _, audience := range []string{v1alpha1.AudiencePod, "https://kubernetes.default.svc"} {
			caller.useToken(podToken(plugin, audience))
			expectFault(resolve(podToken(pod, v1alpha1.AudiencePod), attributes), v1alpha1.ReasonNotAllowed, "the node plugin's token is not valid")
		}
	})

	It("by a plugin of another node is refused", func() {
		elsewhere, err := cp.CreateNode(ctx, "thief-"+namespace)
		Expect(err).NotTo(HaveOccurred())
		token, err := elsewhere.Token(ctx)
		Expect(err).NotTo(HaveOccurred())
		caller.useToken(token)
		expectFault(resolve(podToken(pod, v1alpha1.AudiencePod), attributes), v1alpha1.ReasonNotAllowed, "runs on node node-a, and node thief-"+namespace+" asked")
	})
})
