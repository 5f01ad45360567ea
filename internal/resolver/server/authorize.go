package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// Authorizer decides whether a node may have the files of one volume of one pod. It trusts nothing that the request
// says: who calls comes from two tokens that the API server reviews, and what is asked for comes from the pod's own
// spec.
type Authorizer struct {
	tokens *tokenReviewer
	pods   client.Reader
	plugin string
}

// NewAuthorizer returns an Authorizer. Pods are read with pods, which must not be a cache: a decision about credentials
// is made on the pod as it is. plugin is the node plugin's service account, as namespace/name.
func NewAuthorizer(
	reviews authenticationclient.TokenReviewInterface, pods client.Reader, plugin types.NamespacedName,
) *Authorizer {
	return &Authorizer{
		tokens: newTokenReviewer(reviews), pods: pods, plugin: serviceAccountPrefix + plugin.Namespace + ":" + plugin.Name,
	}
}

// Authorization is what one request may have: the Connection of one volume of one pod.
type Authorization struct {
	// Pod that mounts the volume.
	Pod types.NamespacedName
	// PodUID tells it from others of the same name.
	PodUID types.UID
	// ServiceAccount of the pod.
	ServiceAccount string
	// Node on which the pod runs.
	Node string
	// VolumeID is the kubelet's for the volume.
	VolumeID string
	// Connection in the pod's namespace.
	Connection string
	// Overrides of top-level values, from the pod's spec.
	Overrides map[string]string

	claims *tokenClaims
}

// Authorize returns what the bearer of the node plugin's token may have for the pod whose token it shows. The
// attributes, and the volume's ID if there is one, only select the volume among those of the pod. Every denial is a
// fault with reason NotAllowed.
func (a *Authorizer) Authorize(
	ctx context.Context, nodeToken, podToken, volumeID string, attributes map[string]string,
) (*Authorization, error) {
	node, err := a.authorizeNode(ctx, nodeToken)
	if err != nil {
		return nil, err
	}
	var prefetch *podPrefetch
	if a.tokens.recentlyAccepted(podToken, v1alpha1.AudiencePod) == nil { // else there is no review to wait for
		prefetch = prefetchPod(ctx, a.pods, podToken)
	}
	pod, err := a.tokens.review(ctx, podToken, v1alpha1.AudiencePod, "the pod's token", node.nodeName)
	if err != nil {
		return nil, err
	}
	if pod.nodeName != node.nodeName || pod.nodeUID != node.nodeUID {
		return nil, refuse("pod %s/%s runs on node %s, and node %s asked",
			pod.namespace, pod.podName, pod.nodeName, node.nodeName)
	}
	return a.authorizeVolume(ctx, pod, prefetch, volumeID, attributes)
}

// Workload is who logs in to Vault where a VaultConfig says that the mounting pod does. Of the tokens, by audience,
// that came with the request, the one that is wanted is reviewed when it is wanted: it must be of the very pod that the
// authorization is for.
func (a *Authorizer) Workload(authorization *Authorization, tokens map[string]string) *auth.Workload {
	return &auth.Workload{
		Namespace: authorization.Pod.Namespace, ServiceAccount: authorization.ServiceAccount,
		Token: func(ctx context.Context, audience string) (string, error) {
			token := tokens[audience]
			if token == "" {
				return "", fault.Waiting(v1alpha1.ReasonCredentialMissing,
					"the kubelet sent no token of pod %s for the audience %s: "+
						"add it to spec.tokenRequests of the CSIDriver %s, or correct the audience in the VaultConfig",
					authorization.Pod, audience, v1alpha1.DriverName)
			}
			claims, err := a.tokens.review(ctx, token, audience, "the pod's token for Vault", authorization.Node)
			if err != nil {
				return "", err
			}
			if *claims != *authorization.claims {
				return "", refuse("the token for Vault belongs to another pod than %s", authorization.Pod)
			}
			return token, nil
		},
	}
}

// authorizeNode makes sure that a token is the node plugin's. Every denial is a fault with reason NotAllowed.
func (a *Authorizer) authorizeNode(ctx context.Context, nodeToken string) (*tokenClaims, error) {
	if a.tokens.recentlyAccepted(nodeToken, v1alpha1.AudienceNode) == nil {
		// Any pod can have a token for this audience, of its own service account.
		if claims, ok := parseUnreviewed(nodeToken); ok && claims.Subject != a.plugin {
			return nil, a.notThePlugin(claims.Subject)
		}
	}
	node, err := a.tokens.review(ctx, nodeToken, v1alpha1.AudienceNode, "the node plugin's token", "")
	if err != nil {
		return nil, err
	}
	if caller := serviceAccountPrefix + node.namespace + ":" + node.serviceAccount; caller != a.plugin {
		return nil, a.notThePlugin(caller)
	}
	return node, nil
}

// notThePlugin refuses another caller than the node plugin, which it may only pretend to be.
func (a *Authorizer) notThePlugin(caller string) error {
	if !strings.HasPrefix(caller, serviceAccountPrefix) || len(validation.IsDNS1123Subdomain(
		strings.ReplaceAll(strings.TrimPrefix(caller, serviceAccountPrefix), ":", "."))) > 0 {
		caller = "no service account"
	}
	return refuse("the resolver serves only the node plugin, and the caller is %s", caller)
}

// authorizeVolume takes connection and overrides from the volume of the pod's spec that has exactly these attributes.
func (a *Authorizer) authorizeVolume(
	ctx context.Context, claims *tokenClaims, prefetch *podPrefetch, volumeID string, attributes map[string]string,
) (*Authorization, error) {
	key := types.NamespacedName{Namespace: claims.namespace, Name: claims.podName}
	pod, err := readPod(ctx, a.pods, claims, prefetch)
	if err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, refuse("pod %s does not exist any more", key)
		}
		return nil, fault.Transient(v1alpha1.ReasonInternal, "pod %s cannot be read from the Kubernetes API: %v", key, err)
	}
	if string(pod.UID) != claims.podUID {
		return nil, refuse("the token belongs to an earlier pod %s", key)
	}
	if pod.Spec.NodeName != claims.nodeName || pod.Spec.ServiceAccountName != claims.serviceAccount {
		return nil, refuse("the token of pod %s does not match the pod's node and service account", key)
	}
	for i := range pod.Spec.Volumes {
		csi := pod.Spec.Volumes[i].CSI
		if csi == nil || csi.Driver != v1alpha1.DriverName || !maps.Equal(csi.VolumeAttributes, attributes) {
			continue
		}
		id := kubeletVolumeID(pod.UID, pod.Spec.Volumes[i].Name)
		if volumeID != "" && volumeID != id {
			continue // another volume with the same attributes, or one that is invented
		}
		authorization := &Authorization{
			Pod: key, VolumeID: id, PodUID: pod.UID, ServiceAccount: claims.serviceAccount, Node: claims.nodeName,
			Overrides: map[string]string{}, claims: claims,
		}
		for name, value := range csi.VolumeAttributes {
			if name == v1alpha1.AttributeConnection {
				authorization.Connection = value
			} else if override, ok := strings.CutPrefix(name, v1alpha1.AttributeValuePrefix); ok {
				authorization.Overrides[override] = value
			}
		}
		return authorization, nil
	}
	return nil, refuse("pod %s has no volume of driver %s with the attributes that were asked for, and the ID",
		key, v1alpha1.DriverName)
}

// kubeletVolumeID is the kubelet's ID for an inline volume (makeVolumeHandle in pkg/volume/csi of Kubernetes). Dynamic
// secrets belong to it, so that a node could have any number with IDs that it invents.
func kubeletVolumeID(pod types.UID, volume string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod)+volume)))
}
