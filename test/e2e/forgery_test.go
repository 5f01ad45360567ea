package e2e

import (
	"context"
	"fmt"
	"maps"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// request is what a caller sends to a resolver.
type request struct {
	nodeToken, podToken string
	attributes          map[string]string
}

var _ = Describe("A resolver that is asked without the node plugin", Ordered, ContinueOnFailure, func() {
	var (
		t              *tenant
		pod, overrider *corev1.Pod
		replica        corev1.Pod
		value          string
		good           request
	)

	podToken := func(ctx context.Context, of *corev1.Pod, audience string) string {
		GinkgoHelper()
		return serviceAccountToken(ctx, of.Namespace, of.Spec.ServiceAccountName, audience, of)
	}

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		value = newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx,
			t.connection("db", map[string]any{"host": "db", "password": "vault.secret(password)"}, t.secretAt("db")),
			t.connection("other", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
		pod, overrider = t.start(ctx, "db"), t.pod("db")
		attributes(overrider)["value.host"] = "mine"
		create(ctx, overrider)
		expectRuns(ctx, pod, eventual)
		expectRuns(ctx, overrider, eventual)
		replica = systemPods(ctx, "controller")[0]
		good = request{
			nodeToken:  podToken(ctx, plugin(ctx), v1alpha1.AudienceNode),
			podToken:   podToken(ctx, pod, v1alpha1.AudiencePod),
			attributes: attributes(pod),
		}
	}, NodeTimeout(2*eventual))

	It("answers when both tokens are good, which shows that the refusals below have their reason", func(ctx SpecContext) {
		response, err := resolve(ctx, &replica, good)
		Expect(err).NotTo(HaveOccurred())
		Expect(contents(response)).To(Equal(map[string]string{"host": "db", "password": value, "type": "SQLORACLE"}))

		r := good
		r.podToken, r.attributes = podToken(ctx, overrider, v1alpha1.AudiencePod), attributes(overrider)
		response, err = resolve(ctx, &replica, r)
		Expect(err).NotTo(HaveOccurred())
		Expect(contents(response)).To(HaveKeyWithValue("host", "mine"))
	}, SpecTimeout(soon))

	DescribeTable("refuses", func(ctx SpecContext, sentence string, forge func(ctx context.Context, r *request)) {
		r := good
		r.attributes = maps.Clone(good.attributes)
		forge(ctx, &r)
		response, err := resolve(ctx, &replica, r)
		Expect(err).To(HaveOccurred())
		Expect(response.GetFiles()).To(BeEmpty())
		Expect(codeAndReason(err)).To(Equal(fmt.Sprint(codes.PermissionDenied, " ", v1alpha1.ReasonNotAllowed)), "%v", err)
		Expect(err).To(MatchError(ContainSubstring(sentence)))
	},
		forged("a request without the node plugin's token", "the node plugin's token is missing", func(_ context.Context, r *request) { r.nodeToken = "" }),
		forged("a request without the pod's token", "the pod's token is missing", func(_ context.Context, r *request) { r.podToken = "" }),
		forged("a token that nobody signed", "the pod's token is not valid for audience sallyport.dev:", func(_ context.Context, r *request) { r.podToken += "x" }),
		forged("the node plugin's token with the pods' audience", "the node plugin's token is not valid for audience sallyport.dev/node", func(ctx context.Context, r *request) {
			r.nodeToken = podToken(ctx, plugin(ctx), v1alpha1.AudiencePod)
		}),
		forged("the node plugin's token for the API server", "the node plugin's token is not valid for audience sallyport.dev/node", func(ctx context.Context, r *request) {
			r.nodeToken = podToken(ctx, plugin(ctx), "")
		}),
		forged("the node plugin's service account without a pod, and so without a node", "the node plugin's token is not bound to a pod", func(ctx context.Context, r *request) {
			r.nodeToken = serviceAccountToken(ctx, systemNamespace, "sallyport-node", v1alpha1.AudienceNode, nil)
		}),
		forged("the pod in the role of the node plugin", "the resolver serves only the node plugin", func(ctx context.Context, r *request) {
			r.nodeToken = podToken(ctx, pod, v1alpha1.AudienceNode)
		}),
		forged("the controller in the role of the node plugin", "the resolver serves only the node plugin", func(ctx context.Context, r *request) {
			r.nodeToken = podToken(ctx, &replica, v1alpha1.AudienceNode)
		}),
		forged("the pod's token for the API server", "the pod's token is not valid for audience sallyport.dev:", func(ctx context.Context, r *request) {
			r.podToken = podToken(ctx, pod, "")
		}),
		forged("the pod's token with the node plugin's audience", "the pod's token is not valid for audience sallyport.dev:", func(ctx context.Context, r *request) {
			r.podToken = podToken(ctx, pod, v1alpha1.AudienceNode)
		}),
		forged("the pod's service account without a pod", "the pod's token is not bound to a pod", func(ctx context.Context, r *request) {
			r.podToken = serviceAccountToken(ctx, t.namespace, "default", v1alpha1.AudiencePod, nil)
		}),
		forged("the node plugin's token in the role of a pod's", "the pod's token is not valid for audience sallyport.dev:", func(_ context.Context, r *request) { r.podToken = r.nodeToken }),
		forged("the token of a pod of another node", "runs on node e2e-elsewhere-", func(ctx context.Context, r *request) {
			r.podToken = podToken(ctx, podElsewhere(ctx, t), v1alpha1.AudiencePod)
		}),
		forged("the token of a pod that runs on no node yet", "does not say on which node its pod runs", func(ctx context.Context, r *request) {
			r.podToken = podToken(ctx, podNowhere(ctx, t), v1alpha1.AudiencePod)
		}),
		forged("the token of a pod that is gone", "the pod's token is not valid for audience sallyport.dev:", func(ctx context.Context, r *request) {
			gone := t.run(ctx, "db")
			r.podToken = podToken(ctx, gone, v1alpha1.AudiencePod)
			remove(ctx, gone)
		}),
		forged("the token of a pod that is gone, though it was accepted a moment ago", "does not exist any more", func(ctx context.Context, r *request) {
			gone := t.run(ctx, "db")
			r.podToken = podToken(ctx, gone, v1alpha1.AudiencePod)
			_, err := resolve(ctx, &replica, *r)
			Expect(err).NotTo(HaveOccurred())
			remove(ctx, gone)
		}),
		forged("the token of an earlier pod of the same name, though it was accepted a moment ago", "the token belongs to an earlier pod", func(ctx context.Context, r *request) {
			first := t.pod("db")
			first.GenerateName, first.Name = "", "again"
			second := first.DeepCopy()
			create(ctx, first)
			expectRuns(ctx, first, eventual)
			r.podToken = podToken(ctx, first, v1alpha1.AudiencePod)
			_, err := resolve(ctx, &replica, *r)
			Expect(err).NotTo(HaveOccurred())
			remove(ctx, first)
			create(ctx, second)
		}),
		forged("a Connection that the pod does not mount", noSuchVolume, func(_ context.Context, r *request) {
			r.attributes[v1alpha1.AttributeConnection] = "other"
		}),
		forged("an override that the pod does not have", noSuchVolume, func(_ context.Context, r *request) {
			r.attributes["value.host"] = "elsewhere"
		}),
		forged("another override than the pod has", noSuchVolume, func(ctx context.Context, r *request) {
			r.podToken = podToken(ctx, overrider, v1alpha1.AudiencePod)
			r.attributes["value.host"] = "elsewhere"
		}),
		forged("to leave out an override that the pod has", noSuchVolume, func(ctx context.Context, r *request) {
			r.podToken = podToken(ctx, overrider, v1alpha1.AudiencePod)
		}),
		forged("no attributes at all", noSuchVolume, func(_ context.Context, r *request) { r.attributes = nil }),
	)
})

// noSuchVolume is how the refusal of attributes that are not the pod's reads.
const noSuchVolume = "has no volume of driver " + v1alpha1.DriverName + " with the attributes that were asked for"

// forged is a request for what is not for the caller, and the sentence with which it is refused.
func forged(name, sentence string, forge func(ctx context.Context, r *request)) TableEntry {
	return Entry(name, Offset(1), sentence, forge, SpecTimeout(eventual))
}

// podElsewhere returns a pod of the tenant that is bound to another node, one that only exists as an object.
func podElsewhere(ctx context.Context, t *tenant) *corev1.Pod {
	GinkgoHelper()
	// Without the label of an operating system no DaemonSet wants to run there.
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-elsewhere-"}}
	create(ctx, node)
	pod := t.pod("db")
	pod.Spec.NodeName = node.Name
	create(ctx, pod)
	DeferCleanup(func(ctx SpecContext) {
		remove(ctx, pod, client.GracePeriodSeconds(0))
		Expect(api.Delete(ctx, node)).To(Succeed())
	}, NodeTimeout(soon))
	return pod
}

// podNowhere returns a pod of the tenant that cannot be scheduled.
func podNowhere(ctx context.Context, t *tenant) *corev1.Pod {
	GinkgoHelper()
	pod := t.pod("db")
	pod.Spec.NodeSelector = map[string]string{"sallyport.dev/e2e-nowhere": "true"}
	create(ctx, pod)
	Consistently(ctx, func(g Gomega) string {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		return pod.Spec.NodeName
	}).WithTimeout(time.Second).Should(BeEmpty())
	return pod
}
