package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/internal/vault/auth"
)

// Authorizer decides whether a node may have the files of one volume of one pod. It trusts nothing that the request
// says: who calls comes from two tokens that the API server reviews, and what is asked for comes from the pod's own
// spec; or, at a refresh, from a grant that follows from these and a pod's token that the API server signed.
type Authorizer struct {
	tokens *tokenReviewer
	limits *callerLimits
	pods   client.Reader
	plugin string
	grants *Grants
	issuer *TokenIssuer
}

// NewAuthorizer returns an Authorizer. Pods are read with pods, which must not be a cache: a decision about credentials
// is made on the pod as it is. plugin is the node plugin's service account, as namespace/name.
func NewAuthorizer(
	reviews authenticationclient.TokenReviewInterface, pods client.Reader, plugin types.NamespacedName,
	grants *Grants, issuer *TokenIssuer,
) *Authorizer {
	limits := newCallerLimits()
	return &Authorizer{
		tokens: newTokenReviewer(reviews, limits), limits: limits, pods: pods, grants: grants, issuer: issuer,
		plugin: serviceAccountPrefix + plugin.Namespace + ":" + plugin.Name,
	}
}

// Authorize returns what the bearer of the node plugin's token may have for the pod whose token it shows. The
// attributes, and the volume's ID if there is one, only select the volume among those of the pod. A grant takes the
// place of the pod's review and read while it is good. Every denial is a fault with reason NotAllowed.
func (a *Authorizer) Authorize(
	ctx context.Context, nodeToken string, request *resolverv1.ResolveRequest,
) (*Authorization, error) {
	asked := a.grants.clock.Now()
	node, err := a.caller(ctx, nodeToken)
	if err != nil {
		return nil, err
	}
	authorization := a.authorizeByGrant(ctx, node, request)
	if authorization == nil {
		if authorization, err = a.authorizeInFull(ctx, node, request); err != nil {
			if fault.Is(err, v1alpha1.ReasonNotAllowed) {
				a.limits.refused(ctx, node.nodeName)
			}
			return nil, err
		}
	}
	authorization.node, authorization.asked = node, asked
	authorizations.WithLabelValues(authorization.by).Inc()
	return authorization, nil
}

// authorizeByGrant returns what the grant of a request allows; nil: the request must be authorised in full.
//
// The pod's token must be one that the API server signed for the pod of the grant, on the node that asks. So whoever
// makes grants with the lease key gets nothing for pods whose tokens they do not have.
//
// When the grant is due, the pod's token is reviewed again. The pod is not read: the review says that the pod of this
// UID exists, and all that was read of it cannot change once it has a node. Should the API server not answer, the grant
// stands until its end.
func (a *Authorizer) authorizeByGrant(
	ctx context.Context, node *tokenClaims, request *resolverv1.ResolveRequest,
) *Authorization {
	shown := a.grants.open(ctx, node, request)
	if shown == nil {
		return nil
	}
	claims, by := shown.claims(node), byGrant
	if !a.issuer.verifies(ctx, request.GetPodToken(), claims) {
		return nil
	}
	if a.grants.due(shown) {
		pod, err := a.tokens.review(ctx, request.GetPodToken(), v1alpha1.AudiencePod, "the pod's token", node.nodeName)
		switch {
		case err == nil && *pod == *claims:
			by = byReview
		case err == nil || fault.From(err).Class != fault.ClassTransient:
			return nil
		}
	}
	authorization := newAuthorization(claims, request.GetVolumeId(), shown.Owner, request.GetVolumeAttributes())
	authorization.by = by
	authorization.Labels = sync.OnceValues(func() (map[string]string, error) {
		pod, err := a.podOf(ctx, claims, nil)
		if err != nil {
			return nil, err
		}
		return pod.Labels, nil
	})
	return authorization
}

// Grant returns what the node may show with its next requests for the volume of an authorization; nil: what it has
// shown stays good, or there is none to be had.
func (a *Authorizer) Grant(ctx context.Context, of *Authorization, request *resolverv1.ResolveRequest) []byte {
	if of.by == byGrant {
		return nil
	}
	fresh, err := a.grants.issue(ctx, of, request)
	if err != nil {
		return nil // the next request is authorised in full, as this one was
	}
	return fresh
}

// authorizeInFull has the pod's token reviewed and reads the pod.
func (a *Authorizer) authorizeInFull(
	ctx context.Context, node *tokenClaims, request *resolverv1.ResolveRequest,
) (*Authorization, error) {
	podToken := request.GetPodToken()
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
	return a.authorizeVolume(ctx, pod, prefetch, request.GetVolumeId(), request.GetVolumeAttributes())
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

// admittedFor is how long the requests of a call are taken for those of the node that was found to make the call.
const admittedFor = time.Second

type admissionKey struct{}

// admission is whose call it is, and since when that is known.
type admission struct {
	node *tokenClaims
	at   time.Time
}

// admitted returns a context that knows whose call it is, so that the token, which is the same for each of hundreds of
// requests, is hashed and looked for once.
func (a *Authorizer) admitted(ctx context.Context, node *tokenClaims) context.Context {
	return context.WithValue(ctx, admissionKey{}, admission{node, a.grants.clock.Now()})
}

// admittedNode is the name of the node whose call it is.
func admittedNode(ctx context.Context) string {
	if found, ok := ctx.Value(admissionKey{}).(admission); ok {
		return found.node.nodeName
	}
	return ""
}

// caller returns the node that makes a request, of a call that was just admitted or by its token.
func (a *Authorizer) caller(ctx context.Context, nodeToken string) (*tokenClaims, error) {
	if found, ok := ctx.Value(admissionKey{}).(admission); ok && a.grants.clock.Since(found.at) < admittedFor {
		return found.node, nil
	}
	return a.authorizeNode(ctx, nodeToken)
}

// authorizeNode makes sure that a token is the node plugin's. Every denial is a fault with reason NotAllowed.
func (a *Authorizer) authorizeNode(ctx context.Context, nodeToken string) (*tokenClaims, error) {
	node := a.tokens.recentlyAccepted(nodeToken, v1alpha1.AudienceNode)
	if node == nil {
		// Any pod can have a token for this audience, of its own service account.
		if claims, ok := parseUnreviewed(nodeToken); ok && claims.Subject != a.plugin {
			return nil, a.notThePlugin(claims.Subject)
		}
		var err error
		if node, err = a.tokens.review(ctx, nodeToken, v1alpha1.AudienceNode, "the node plugin's token", ""); err != nil {
			return nil, err
		}
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
	pod, err := a.podOf(ctx, claims, prefetch)
	if err != nil {
		return nil, err
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
		authorization := newAuthorization(claims, id, ownerOf(&pod.Spec, pod.Spec.Volumes[i].Name), csi.VolumeAttributes)
		authorization.by = byPod
		authorization.Labels = func() (map[string]string, error) { return pod.Labels, nil }
		return authorization, nil
	}
	return nil, refuse("pod %s/%s has no volume of driver %s with the attributes that were asked for, and the ID",
		pod.Namespace, pod.Name, v1alpha1.DriverName)
}

// podOf returns the Pod of a reviewed token, if it is what the token says.
func (a *Authorizer) podOf(ctx context.Context, claims *tokenClaims, prefetch *podPrefetch) (*corev1.Pod, error) {
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
	return pod, nil
}

// ownerOf returns the user that all containers which mount a volume run as. Those that are added to debug a running pod
// do not count: files would change hands under the others. Where only the image says who runs, nobody knows.
func ownerOf(spec *corev1.PodSpec, volume string) *int64 {
	var owner *int64
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		if !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) {
			continue
		}
		var user *int64
		if spec.SecurityContext != nil {
			user = spec.SecurityContext.RunAsUser
		}
		if container.SecurityContext != nil && container.SecurityContext.RunAsUser != nil {
			user = container.SecurityContext.RunAsUser
		}
		if user == nil || owner != nil && *owner != *user {
			return nil
		}
		owner = user
	}
	return owner
}

// kubeletVolumeID is the kubelet's ID for an inline volume (makeVolumeHandle in pkg/volume/csi of Kubernetes). Dynamic
// secrets belong to it, so that a node could have any number with IDs that it invents.
func kubeletVolumeID(pod types.UID, volume string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod)+volume)))
}
