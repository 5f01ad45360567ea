package resolver

import (
	"context"
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// Claims of a pod-bound service account token, as TokenReview returns them; the node claim is there from Kubernetes 1.32 on
// (KEP-4193).
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
	extraNodeUID  = "authentication.kubernetes.io/node-uid"

	serviceAccountPrefix = "system:serviceaccount:"
)

const (
	// reviewMemory is how long an accepted token is not reviewed again. A deleted pod's token works this long at most.
	reviewMemory = 10 * time.Second
	// reviewsRemembered bounds the memory that accepted tokens take.
	reviewsRemembered = 8192
)

// Authorizer decides whether a node may have the files of one volume of one pod. It trusts nothing that the request says:
// who asks comes from two tokens that the API server reviews, and what is asked for comes from the pod's own spec.
type Authorizer struct {
	reviews authenticationclient.TokenReviewInterface
	pods    client.Reader
	plugin  string
	memory  *cache.LRUExpireCache
}

// NewAuthorizer returns an Authorizer. Pods are read with pods, which must not be a cache: a decision about credentials is
// made on the pod as it is. plugin is the node plugin's service account, as namespace/name.
func NewAuthorizer(reviews authenticationclient.TokenReviewInterface, pods client.Reader, plugin types.NamespacedName) *Authorizer {
	return &Authorizer{
		reviews: reviews,
		pods:    pods,
		plugin:  serviceAccountPrefix + plugin.Namespace + ":" + plugin.Name,
		memory:  cache.NewLRUExpireCache(reviewsRemembered),
	}
}

// Grant is what one request may have.
type Grant struct {
	// Pod that mounts the volume.
	Pod types.NamespacedName
	// PodUID tells it from others of the same name.
	PodUID types.UID
	// ServiceAccount of the pod.
	ServiceAccount string
	// Node on which the pod runs.
	Node string
	// Connection in the pod's namespace.
	Connection string
	// Overrides of top-level values, from the pod's spec.
	Overrides map[string]string

	identity *identity
}

// identity is what a reviewed token says of its owner.
type identity struct {
	namespace, serviceAccount string
	podName, podUID           string
	nodeName, nodeUID         string
}

// Authorize returns what the bearer of the node plugin's token may have for the pod whose token it shows. The attributes only
// select the volume among those of the pod. Every refusal is a fault with reason NotAllowed.
func (a *Authorizer) Authorize(ctx context.Context, nodeToken, podToken string, attributes map[string]string) (*Grant, error) {
	node, err := a.authorizeNode(ctx, nodeToken)
	if err != nil {
		return nil, err
	}
	ahead := a.readAhead(ctx, podToken)
	pod, err := a.review(ctx, podToken, v1alpha1.AudiencePod, "the pod's token")
	if err != nil {
		return nil, err
	}
	if pod.nodeName != node.nodeName || pod.nodeUID != node.nodeUID {
		return nil, refuse("pod %s/%s runs on node %s, and node %s asked", pod.namespace, pod.podName, pod.nodeName, node.nodeName)
	}
	return a.grant(ctx, pod, ahead, attributes)
}

// Workload is who logs in to Vault where a VaultConfig says that the mounting pod does. Of the tokens, by audience, that came with the
// request, the one that is wanted is reviewed when it is wanted: it must be of the very pod that the grant is for.
func (a *Authorizer) Workload(grant *Grant, tokens map[string]string) *auth.Workload {
	return &auth.Workload{
		Namespace: grant.Pod.Namespace, ServiceAccount: grant.ServiceAccount,
		Token: func(ctx context.Context, audience string) (string, error) {
			token := tokens[audience]
			if token == "" {
				return "", fault.Waiting(v1alpha1.ReasonCredentialMissing, "the kubelet sent no token of pod %s for the audience %s: "+
					"add it to spec.tokenRequests of the CSIDriver %s, or correct the audience in the VaultConfig", grant.Pod, audience, v1alpha1.DriverName)
			}
			id, err := a.review(ctx, token, audience, "the pod's token for Vault")
			if err != nil {
				return "", err
			}
			if *id != *grant.identity {
				return "", refuse("the token for Vault belongs to another pod than %s", grant.Pod)
			}
			return token, nil
		},
	}
}

// authorizeNode makes sure that a token is the node plugin's. Every refusal is a fault with reason NotAllowed.
func (a *Authorizer) authorizeNode(ctx context.Context, nodeToken string) (*identity, error) {
	node, err := a.review(ctx, nodeToken, v1alpha1.AudienceNode, "the node plugin's token")
	if err != nil {
		return nil, err
	}
	if caller := serviceAccountPrefix + node.namespace + ":" + node.serviceAccount; caller != a.plugin {
		return nil, refuse("the resolver serves only the node plugin, and the caller is %s", caller)
	}
	return node, nil
}

// grant takes connection and overrides from the volume of the pod's spec that has exactly these attributes.
func (a *Authorizer) grant(ctx context.Context, id *identity, ahead *podRead, attributes map[string]string) (*Grant, error) {
	key := types.NamespacedName{Namespace: id.namespace, Name: id.podName}
	pod, err := a.readPod(ctx, id, ahead)
	if err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, refuse("pod %s does not exist any more", key)
		}
		return nil, fault.Transient(v1alpha1.ReasonInternal, "pod %s cannot be read from the Kubernetes API: %v", key, err)
	}
	if string(pod.UID) != id.podUID {
		return nil, refuse("the token belongs to an earlier pod %s", key)
	}
	if pod.Spec.NodeName != id.nodeName || pod.Spec.ServiceAccountName != id.serviceAccount {
		return nil, refuse("the token of pod %s does not match the pod's node and service account", key)
	}
	for i := range pod.Spec.Volumes {
		csi := pod.Spec.Volumes[i].CSI
		if csi == nil || csi.Driver != v1alpha1.DriverName || !maps.Equal(csi.VolumeAttributes, attributes) {
			continue
		}
		grant := &Grant{
			Pod: key, PodUID: pod.UID, ServiceAccount: id.serviceAccount, Node: id.nodeName, Overrides: map[string]string{}, identity: id,
		}
		for name, value := range csi.VolumeAttributes {
			if name == v1alpha1.AttributeConnection {
				grant.Connection = value
			} else if override, ok := strings.CutPrefix(name, v1alpha1.AttributeValuePrefix); ok {
				grant.Overrides[override] = value
			}
		}
		return grant, nil
	}
	return nil, refuse("pod %s has no volume of driver %s with the attributes that were asked for", key, v1alpha1.DriverName)
}

// review has the API server check a token for one audience (authentication.k8s.io/v1 TokenReview). Only what was accepted
// is remembered, by the digest of the token, and only in memory.
func (a *Authorizer) review(ctx context.Context, token, audience, whose string) (*identity, error) {
	if token == "" {
		return nil, refuse("%s is missing", whose)
	}
	if id := a.remembered(token, audience); id != nil {
		return id, nil
	}
	review, err := a.reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		// The error is the API server's and speaks of the request, not of the token; it is still not passed on, to be sure.
		return nil, fault.Transient(v1alpha1.ReasonInternal, "%s cannot be reviewed: the Kubernetes API did not answer the TokenReview", whose)
	}
	id, err := identify(review.Status, audience, whose)
	if err != nil {
		return nil, err
	}
	a.memory.Add(digestOf(token, audience), id, reviewMemory)
	return id, nil
}

// remembered returns what a review said of a token a moment ago; nil: it was not reviewed, or not accepted.
func (a *Authorizer) remembered(token, audience string) *identity {
	known, _ := a.memory.Get(digestOf(token, audience))
	id, _ := known.(*identity)
	return id
}

func digestOf(token, audience string) [sha256.Size]byte {
	return sha256.Sum256([]byte(audience + "\x00" + token))
}

// identify reads the claims of a reviewed token and insists on every one of them.
func identify(status authenticationv1.TokenReviewStatus, audience, whose string) (*identity, error) {
	if !status.Authenticated {
		return nil, refuse("%s is not valid for audience %s: it expired, its pod is gone, or it was made for something else", whose, audience)
	}
	// An API server that does not know audiences leaves the list empty; a token accepted by it proves nothing.
	if !slices.Contains(status.Audiences, audience) {
		return nil, refuse("%s was not reviewed for audience %s", whose, audience)
	}
	name, ok := strings.CutPrefix(status.User.Username, serviceAccountPrefix)
	namespace, serviceAccount, found := strings.Cut(name, ":")
	if !ok || !found {
		return nil, refuse("%s belongs to no service account", whose)
	}
	claim := func(key string) string {
		if values := status.User.Extra[key]; len(values) == 1 {
			return values[0]
		}
		return ""
	}
	id := &identity{
		namespace: namespace, serviceAccount: serviceAccount,
		podName: claim(extraPodName), podUID: claim(extraPodUID),
		nodeName: claim(extraNodeName), nodeUID: claim(extraNodeUID),
	}
	if id.podName == "" || id.podUID == "" {
		return nil, refuse("%s is not bound to a pod", whose)
	}
	if id.nodeName == "" {
		return nil, refuse("%s does not say on which node its pod runs; Kubernetes 1.32 or newer is needed", whose)
	}
	return id, nil
}

func refuse(format string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonNotAllowed, format, args...)
}
