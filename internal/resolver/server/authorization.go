package server

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// What an authorization follows from, which authorizations counts.
const (
	byPod    = "Pod"    // the pod's token was reviewed, and the pod read
	byReview = "Review" // a grant, whose token was reviewed again
	byGrant  = "Grant"  // a grant alone
)

// Authorization is what one request may have: the Connection of one volume of one pod.
type Authorization struct {
	// Pod that mounts the volume.
	Pod types.NamespacedName
	// PodUID tells it from others of the same name.
	PodUID types.UID
	// ServiceAccount of the pod.
	ServiceAccount string
	// Labels returns those of the pod, which may change. It is for one request, whose context it keeps.
	Labels func() (map[string]string, error)
	// Node on which the pod runs.
	Node string
	// VolumeID is the kubelet's for the volume.
	VolumeID string
	// Owner is the user that runs the containers that mount the volume; nil if the pod's spec does not say, or if there
	// are several.
	Owner *int64
	// Connection in the pod's namespace.
	Connection string
	// Overrides of top-level values, from the pod's spec.
	Overrides map[string]string

	// claims are the pod's, node those of the node plugin's pod that asked.
	claims, node *tokenClaims
	// by is byPod, byReview or byGrant.
	by string
	// asked is when the request came, before anything was reviewed for it.
	asked time.Time
}

// newAuthorization is for the volume of a pod's spec with these attributes.
func newAuthorization(
	claims *tokenClaims, volumeID string, owner *int64, attributes map[string]string,
) *Authorization {
	authorization := &Authorization{
		Pod:    types.NamespacedName{Namespace: claims.namespace, Name: claims.podName},
		PodUID: types.UID(claims.podUID), ServiceAccount: claims.serviceAccount, Node: claims.nodeName,
		VolumeID: volumeID, Owner: owner, Overrides: map[string]string{}, claims: claims,
	}
	for name, value := range attributes {
		if name == v1alpha1.AttributeConnection {
			authorization.Connection = value
		} else if override, ok := strings.CutPrefix(name, v1alpha1.AttributeValuePrefix); ok {
			authorization.Overrides[override] = value
		}
	}
	return authorization
}
