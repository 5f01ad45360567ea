package server

import (
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// unsigned is a token with these claims, which nobody signed.
func unsigned(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
}

func TestThePodThatATokenNames(t *testing.T) {
	for token, expected := range map[string]string{
		unsigned(`{"kubernetes.io":{"namespace":"shop","pod":{"name":"web-1","uid":"u"}}}`): "shop/web-1",
		unsigned(`{"kubernetes.io":{"namespace":"shop","pod":{}}}`):                         "",
		unsigned(`{"kubernetes.io":{"pod":{"name":"web-1"}}}`):                              "",
		unsigned(`{"kubernetes.io":[]}`):                                                    "",
		unsigned(`{`):                                                                       "",
		"a.%.c":                                                                             "",
		"a.b":                                                                               "",
		"":                                                                                  "",
	} {
		key, ok := podNamedIn(token)
		NewWithT(t).Expect(ok).To(Equal(expected != ""), token)
		if ok {
			NewWithT(t).Expect(key.String()).To(Equal(expected))
		}
	}
}

// cluster answers for an API server that reviews tokens and holds Pods. It stands in for a real one because that
// reviews no token whose claims are not its own.
type cluster struct {
	authenticationclient.TokenReviewInterface
	client.Reader
	// says is what a review says of the pod's token; nil: it is not valid.
	says *tokenClaims
	// refuses is whether the node plugin's tokens are not valid, and reviews counts all.
	refuses bool
	reviews atomic.Int32
	// ofPods counts those of pods' tokens, down is whether there is an answer to none, and nodeUID and pluginUID are others
	// of the node and of the plugin's pod.
	ofPods             atomic.Int32
	down               bool
	nodeUID, pluginUID string
	// hangs are tokens of pods whose review is not answered.
	hangs map[string]bool

	mu sync.Mutex
	// old is what the API server remembers instead of the Pods as they are.
	old *corev1.Pod
	// read are the Pods that were read, by their names, with a question mark where that may be old.
	read []string
}

func (c *cluster) Create(ctx context.Context, review *authenticationv1.TokenReview, _ metav1.CreateOptions) (*authenticationv1.TokenReview, error) {
	c.reviews.Add(1)
	who := c.says
	if review.Spec.Audiences[0] == v1alpha1.AudiencePod {
		c.ofPods.Add(1)
		if c.hangs[review.Spec.Token] {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if c.down {
			return nil, errors.New("no answer")
		}
	}
	if c.refuses {
		return review, nil
	}
	if review.Spec.Audiences[0] == v1alpha1.AudienceNode {
		who = &tokenClaims{namespace: "sallyport-system", serviceAccount: "sallyport-node", podName: "sallyport-node-1", podUID: "p", nodeName: "node-a", nodeUID: "uid-a"}
		if claims, _ := parseUnreviewed(review.Spec.Token); claims.Kubernetes.Pod.Name != "" {
			who.nodeName = claims.Kubernetes.Pod.Name // a test's own node
		}
		if c.pluginUID != "" {
			who.podUID = c.pluginUID
		}
		if c.nodeUID != "" {
			who.nodeUID = c.nodeUID
		}
	}
	if who == nil {
		return review, nil
	}
	review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: review.Spec.Audiences, User: authenticationv1.UserInfo{
		Username: "system:serviceaccount:" + who.namespace + ":" + who.serviceAccount, UID: who.serviceAccountUID,
		Extra: map[string]authenticationv1.ExtraValue{
			extraPodName: {who.podName}, extraPodUID: {who.podUID}, extraNodeName: {who.nodeName}, extraNodeUID: {who.nodeUID},
		},
	}}
	return review, nil
}

func (c *cluster) Get(_ context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	how := (&client.GetOptions{}).ApplyOptions(options)
	mayBeOld := how.Raw != nil && how.Raw.ResourceVersion == "0"
	c.mu.Lock()
	c.read = append(c.read, key.String()+map[bool]string{true: "?"}[mayBeOld])
	c.mu.Unlock()
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return errors.New("not a Pod")
	}
	if mayBeOld && c.old != nil {
		c.old.DeepCopyInto(pod)
		return nil
	}
	pod.Name, pod.Namespace, pod.UID = key.Name, key.Namespace, types.UID("uid of "+key.Name)
	pod.Spec.NodeName, pod.Spec.ServiceAccountName = "node-a", "web"
	pod.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: v1alpha1.DriverName, VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: "of " + key.String()},
	}}}}
	return nil
}

// requestFor is a request for the volume of shop/one.
func requestFor(token string) *resolverv1.ResolveRequest {
	return &resolverv1.ResolveRequest{
		PodToken: token, VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: "of shop/one"},
	}
}

func TestAPrefetchedPodCountsOnlyIfTheReviewSaysTheSame(t *testing.T) {
	one := &tokenClaims{namespace: "shop", serviceAccount: "web", podName: "one", podUID: "uid of one", nodeName: "node-a", nodeUID: "uid-a"}
	const valid = `"aud":"sallyport.dev","sub":"system:serviceaccount:shop:web","exp":99999999999,`
	nodeToken := unsigned(`{"aud":["sallyport.dev/node"],"sub":"system:serviceaccount:sallyport-system:sallyport-node","exp":99999999999}`)
	ask := func(c *cluster, token string) (*Authorization, error) {
		return authorizerOf(c).Authorize(t.Context(), nodeToken, requestFor(token))
	}
	same := unsigned(`{` + valid + `"kubernetes.io":{"namespace":"shop","pod":{"name":"one"}}}`)
	for name, token := range map[string]string{
		"the same pod":                 same,
		"another pod":                  unsigned(`{` + valid + `"kubernetes.io":{"namespace":"shop","pod":{"name":"two"}}}`),
		"a pod of the name, elsewhere": unsigned(`{` + valid + `"kubernetes.io":{"namespace":"other","pod":{"name":"one"}}}`),
		"no pod":                       unsigned(`{` + valid + `"nbf":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := &cluster{says: one}
			authorization, err := ask(c, token)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(authorization.Pod.String()).To(Equal("shop/one"))
			g.Expect(authorization.Connection).To(Equal("of shop/one"))
			c.mu.Lock()
			defer c.mu.Unlock()
			if token == same {
				g.Expect(c.read).To(Equal([]string{"shop/one?"}), "once")
			}
		})
	}
	for name, old := range map[string]*corev1.Pod{
		"an earlier pod of the name":   {ObjectMeta: metav1.ObjectMeta{UID: "earlier"}, Spec: corev1.PodSpec{NodeName: "node-a"}},
		"the pod before it had a node": {ObjectMeta: metav1.ObjectMeta{UID: "uid of one"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := &cluster{says: one, old: old}
			authorization, err := ask(c, same)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(authorization.Connection).To(Equal("of shop/one"))
			g.Expect(c.read).To(Equal([]string{"shop/one?", "shop/one"}))
		})
	}
	t.Run("a token that was reviewed a moment ago", func(t *testing.T) {
		g := NewWithT(t)
		c := &cluster{says: one}
		a := authorizerOf(c)
		for range 2 {
			_, err := a.Authorize(t.Context(), nodeToken, requestFor(same))
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(c.read).To(Equal([]string{"shop/one?", "shop/one"}), "the second time as it is")
	})
	_, err := ask(&cluster{}, same)
	NewWithT(t).Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%v", err)
}
