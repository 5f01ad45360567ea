package node

import (
	"encoding/json"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/volume"
)

// Keys that the kubelet adds to the volume context or the secrets of a request.
const (
	kubeletPrefix   = "csi.storage.k8s.io/"
	keyTokens       = kubeletPrefix + "serviceAccount.tokens"
	keyEphemeral    = kubeletPrefix + "ephemeral"
	keyPodName      = kubeletPrefix + "pod.name"
	keyPodNamespace = kubeletPrefix + "pod.namespace"
	keyPodUID       = kubeletPrefix + "pod.uid"
)

// podIn returns the pod that the kubelet mounts for.
func podIn(volumeContext map[string]string) volume.Pod {
	return volume.Pod{
		Namespace: volumeContext[keyPodNamespace], Name: volumeContext[keyPodName], UID: volumeContext[keyPodUID],
	}
}

// tokenIn returns the token that the kubelet put into the request: into its secrets as the CSIDriver asks for, or into
// the volume context where Kubernetes is older than 1.35.
//
// One of the two places is the kubelet's, which overwrites there what the pod says; what lies in the other was put
// there by the pod's author (nodePublishSecretRef, volumeAttributes). With both present nobody can tell which is which.
func tokenIn(request *csi.NodePublishVolumeRequest) (volume.PodToken, error) {
	inSecrets, inContext := request.GetSecrets()[keyTokens], request.GetVolumeContext()[keyTokens]
	switch {
	case inSecrets != "" && inContext != "":
		return volume.PodToken{}, invalidArgument("the volume must not bring a token of its own: "+
			"remove %s from its attributes and its nodePublishSecretRef", keyTokens)
	case inSecrets == "":
		inSecrets = inContext
	}
	if inSecrets == "" {
		return volume.PodToken{}, failedPrecondition("the kubelet sent no service account token: "+
			"the CSIDriver %s must have tokenRequests for the audience %s", v1alpha1.DriverName, v1alpha1.AudiencePod)
	}
	var tokens map[string]struct {
		Token               string    `json:"token"`
		ExpirationTimestamp time.Time `json:"expirationTimestamp"`
	}
	// The decoder's error may quote what it read, so it goes no further.
	if json.Unmarshal([]byte(inSecrets), &tokens) != nil {
		return volume.PodToken{}, invalidArgument("the service account tokens that the kubelet sent cannot be read")
	}
	token := tokens[v1alpha1.AudiencePod]
	if token.Token == "" {
		return volume.PodToken{}, failedPrecondition("the kubelet sent no service account token for the audience %s: "+
			"the CSIDriver %s must have it in tokenRequests", v1alpha1.AudiencePod, v1alpha1.DriverName)
	}
	given := volume.PodToken{Value: token.Token, Expires: token.ExpirationTimestamp, Workload: map[string]string{}}
	for audience, other := range tokens {
		switch audience {
		case "", v1alpha1.AudiencePod, v1alpha1.AudienceNode:
			// A token without an audience is for the API server, and goes nowhere; nor does one that has no business
			// with a resolver.
			continue
		}
		if other.Token != "" {
			given.Workload[audience] = other.Token
		}
	}
	return given, nil
}
