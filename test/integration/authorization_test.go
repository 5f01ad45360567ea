package integration

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/proto"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
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

var _ = Describe("A grant", func() {
	var (
		namespace string
		pod       *corev1.Pod
		caller    *caller
		request   *resolverv1.ResolveRequest
	)

	BeforeEach(func() {
		namespace = newNamespace()
		create(builder.Connection(namespace, "oracle", map[string]any{"host": "h"}))
		pod = newPod(namespace, map[string]string{"connection": "oracle"})
		caller = newCaller(replica)
		token, err := cp.PodToken(ctx, pod, v1alpha1.AudiencePod)
		Expect(err).NotTo(HaveOccurred())
		remember(token)
		request = &resolverv1.ResolveRequest{
			PodToken: token, VolumeAttributes: pod.Spec.Volumes[0].CSI.VolumeAttributes,
			VolumeId: fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod.UID)+pod.Spec.Volumes[0].Name))),
		}
		var response *resolverv1.ResolveResponse
		Eventually(func() (err error) {
			response, err = caller.client.Resolve(ctx, request)
			return err
		}).Should(Succeed())
		request.Grant = response.GetGrant()
		Expect(request.GetGrant()).NotTo(BeEmpty())
		remember(base64.StdEncoding.EncodeToString(request.GetGrant()))
	})

	gone := func() {
		GinkgoHelper()
		Expect(cp.Client.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(func() error {
			_, err := caller.client.Resolve(ctx, &resolverv1.ResolveRequest{
				PodToken: request.GetPodToken(), VolumeAttributes: request.GetVolumeAttributes(), VolumeId: request.GetVolumeId(),
			})
			return err
		}, 15*time.Second, time.Second).Should(HaveOccurred(), "without the grant")
	}

	It("stands for its volume until its end, also when the pod is gone", func() {
		gone()
		response, err := caller.client.Resolve(ctx, request)
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(HaveKeyWithValue("host", "h"))
		Expect(response.GetGrant()).To(BeEmpty())
	})

	It("is nothing on another node, for another volume, or when its Connection may not be mounted any more", func() {
		gone()
		for name, change := range map[string]func(*resolverv1.ResolveRequest){
			"volume":     func(r *resolverv1.ResolveRequest) { r.VolumeId = "csi-other" },
			"attributes": func(r *resolverv1.ResolveRequest) { r.VolumeAttributes = map[string]string{"connection": "other"} },
			"a byte":     func(r *resolverv1.ResolveRequest) { r.Grant[len(r.GetGrant())-1] ^= 1 },
		} {
			forged := proto.CloneOf(request)
			change(forged)
			_, err := caller.client.Resolve(ctx, forged)
			Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%s: %v", name, err)
		}
		elsewhere, err := cp.CreateNode(ctx, "thief-"+namespace)
		Expect(err).NotTo(HaveOccurred())
		thief, err := elsewhere.Token(ctx)
		Expect(err).NotTo(HaveOccurred())
		own, err := node.Token(ctx)
		Expect(err).NotTo(HaveOccurred())
		next := builder.Pod(env.Namespace, "next-"+namespace, builder.WithServiceAccount("sallyport-node"), builder.WithNode(node.Name))
		create(next)
		for name, token := range map[string]string{"another node": thief, "the next pod of the plugin": podToken(next, v1alpha1.AudienceNode)} {
			caller.useToken(token)
			_, err = caller.client.Resolve(ctx, request)
			Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%s: %v", name, err)
		}
		caller.useToken(own)
		Eventually(func() error { _, err := caller.client.Resolve(ctx, request); return err }).Should(Succeed())

		c := &v1alpha1.Connection{}
		Eventually(func() error {
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "oracle"}, c)).To(Succeed())
			c.Spec.AllowedServiceAccounts = []string{"trusted"}
			return cp.Client.Update(ctx, c) // its status may be written meanwhile
		}).Should(Succeed())
		Eventually(func() error { _, err := caller.client.Resolve(ctx, request); return err }).Should(
			MatchError(ContainSubstring("it is not among allowedServiceAccounts")))
	})

	It("that somebody with the lease key has made is nothing without a token of its pod that the API server signed", func() {
		create(builder.Connection(namespace, "other", map[string]any{"host": "o"}))
		attacked := newNamespace()
		create(builder.Connection(attacked, "oracle", map[string]any{"host": "theirs"}))
		elsewhere, err := cp.CreateNode(ctx, "node-of-"+attacked)
		Expect(err).NotTo(HaveOccurred())
		victim, err := elsewhere.CreatePod(ctx, attacked, "victim", map[string]string{"connection": "oracle"})
		Expect(err).NotTo(HaveOccurred())
		_, err = mountEventually(caller, newPod(namespace, map[string]string{"connection": "other"}))
		Expect(err).NotTo(HaveOccurred())
		own, err := node.Token(ctx)
		Expect(err).NotTo(HaveOccurred())
		theirs, err := elsewhere.Token(ctx)
		Expect(err).NotTo(HaveOccurred())
		caller.useToken(theirs)
		_, err = mountEventually(caller, victim)
		Expect(err).NotTo(HaveOccurred(), "where it runs, the pod has its volume")
		caller.useToken(own)

		// What is forged: a grant for a volume of a pod, with the key of the Secret and the attributes that one likes.
		forged := func(pod *corev1.Pod, connection, token string) *resolverv1.ResolveRequest {
			GinkgoHelper()
			remember(token)
			made := &resolverv1.ResolveRequest{
				PodToken: token, VolumeAttributes: map[string]string{"connection": connection}, VolumeId: env.VolumeID(pod, "invented"),
			}
			made.Grant = forgeGrant(pod, made)
			return made
		}
		_, err = caller.client.Resolve(ctx, &resolverv1.ResolveRequest{
			PodToken: request.GetPodToken(), VolumeAttributes: map[string]string{"connection": "other"}, VolumeId: env.VolumeID(pod, "invented"),
		})
		expectFault(err, v1alpha1.ReasonNotAllowed, "has no volume")
		response, err := caller.client.Resolve(ctx, forged(pod, "other", request.GetPodToken()))
		Expect(err).NotTo(HaveOccurred(), "the control: the grant is well made, and stands for a pod whose token one has")
		Expect(files(response)).To(HaveKeyWithValue("host", "o"))

		claims := claimsOf(victim)
		for name, row := range map[string]struct{ token, sentence string }{
			"a token that nobody signed":      {encoded(`{"alg":"none"}`) + "." + encoded(claims) + ".", "the pod's token is not valid"},
			"a token with a signature":        {encoded(`{"alg":"RS256"}`) + "." + encoded(claims) + "." + encoded("signature"), "the pod's token is not valid"},
			"a token that the forger signed":  {signedByAnybody(request.GetPodToken(), claims), "the pod's token is not valid"},
			"the token of a pod of one's own": {request.GetPodToken(), "has no volume"},
			"the pod's token, elsewhere":      {podToken(victim, v1alpha1.AudiencePod), "runs on node node-of-" + attacked + ", and node node-a asked"},
			"the pod's token for Vault":       {podToken(victim, "vault"), "the pod's token is not valid"},
		} {
			_, err = caller.client.Resolve(ctx, forged(victim, "oracle", row.token))
			Expect(err).To(HaveOccurred(), name)
			expectFault(err, v1alpha1.ReasonNotAllowed, row.sentence)
		}
	})
})

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// claimsOf are what a token of a pod says.
func claimsOf(pod *corev1.Pod) string {
	GinkgoHelper()
	account, on := &corev1.ServiceAccount{}, &corev1.Node{}
	Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName}, account)).To(Succeed())
	Expect(cp.Client.Get(ctx, client.ObjectKey{Name: pod.Spec.NodeName}, on)).To(Succeed())
	issuer := struct{ Issuer string }{}
	content, err := cp.Clients.CoreV1().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	Expect(err).NotTo(HaveOccurred())
	Expect(json.Unmarshal(content, &issuer)).To(Succeed())
	claims, err := json.Marshal(map[string]any{
		"iss": issuer.Issuer, "aud": []string{v1alpha1.AudiencePod}, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"sub": "system:serviceaccount:" + pod.Namespace + ":" + account.Name, "kubernetes.io": map[string]any{
			"namespace": pod.Namespace, "pod": map[string]any{"name": pod.Name, "uid": pod.UID},
			"serviceaccount": map[string]any{"name": account.Name, "uid": account.UID},
			"node":           map[string]any{"name": on.Name, "uid": on.UID},
		},
	})
	Expect(err).NotTo(HaveOccurred())
	return string(claims)
}

// signedByAnybody has the header of a real token, and so the name of the key, and a signature of another key.
func signedByAnybody(model, claims string) string {
	GinkgoHelper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	Expect(err).NotTo(HaveOccurred())
	signed := strings.Split(model, ".")[0] + "." + encoded(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	Expect(err).NotTo(HaveOccurred())
	return signed + "." + encoded(string(signature))
}

// forgeGrant is what whoever may read the Secret sallyport-lease-key can make for a pod, to be shown with a request by
// the plugin of node-a: grant and grantBinding in internal/resolver/server.
func forgeGrant(pod *corev1.Pod, request *resolverv1.ResolveRequest) []byte {
	GinkgoHelper()
	account, on, plugin := &corev1.ServiceAccount{}, &corev1.Node{}, &corev1.Pod{}
	Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: pod.Spec.ServiceAccountName}, account)).To(Succeed())
	Expect(cp.Client.Get(ctx, client.ObjectKey{Name: node.Name}, on)).To(Succeed())
	Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: env.Namespace, Name: "sallyport-node-" + node.Name}, plugin)).To(Succeed())
	bound, err := json.Marshal(struct {
		Node       string            `json:"node"`
		NodeUID    types.UID         `json:"nodeUID"`
		Plugin     types.UID         `json:"plugin"`
		Attributes map[string]string `json:"attributes"`
	}{node.Name, on.UID, plugin.UID, request.GetVolumeAttributes()})
	Expect(err).NotTo(HaveOccurred())
	plain, err := json.Marshal(map[string]any{
		"namespace": pod.Namespace, "pod": pod.Name, "podUID": pod.UID,
		"serviceAccount": account.Name, "serviceAccountUID": account.UID,
		"issued": time.Now(), "renewAt": time.Now().Add(time.Hour), "end": time.Now().Add(time.Hour),
	})
	Expect(err).NotTo(HaveOccurred())
	key := lease.NewManager(lease.Options{Secrets: cp.Clients.CoreV1().Secrets(env.Namespace), Clock: clock.RealClock{}, Log: log})
	grant, err := key.Cipher("grant/v1").Encrypt(ctx, request.GetVolumeId(), plain, bound)
	Expect(err).NotTo(HaveOccurred())
	return grant
}
