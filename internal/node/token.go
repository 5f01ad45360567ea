package node

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// podToken is the service account token of a mounting pod. It lives in memory only and prints as nothing.
type podToken struct {
	value   string
	expires time.Time
	// workload are the pod's tokens for other audiences, by audience: those that it logs in to Vault with.
	workload map[string]string
}

func (t podToken) String() string               { return "[pod token]" }
func (t podToken) GoString() string             { return t.String() }
func (t podToken) MarshalLog() any              { return t.String() }
func (t podToken) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

func (t podToken) usable(now time.Time) bool {
	return t.value != "" && (t.expires.IsZero() || now.Before(t.expires))
}

// tokenIn returns the token that the kubelet put into the request: into its secrets as the CSIDriver asks for, or into the
// volume context where Kubernetes is older than 1.35.
//
// One of the two places is the kubelet's, which overwrites there what the pod says; what lies in the other was put there by
// the pod's author (nodePublishSecretRef, volumeAttributes). With both present nobody can tell which is which.
func tokenIn(request *csi.NodePublishVolumeRequest) (podToken, error) {
	inSecrets, inContext := request.GetSecrets()[keyTokens], request.GetVolumeContext()[keyTokens]
	switch {
	case inSecrets != "" && inContext != "":
		return podToken{}, invalidArgument("the volume must not bring a token of its own: remove %s from its attributes and its nodePublishSecretRef", keyTokens)
	case inSecrets == "":
		inSecrets = inContext
	}
	if inSecrets == "" {
		return podToken{}, failedPrecondition("the kubelet sent no service account token: the CSIDriver %s must have tokenRequests for the audience %s",
			v1alpha1.DriverName, v1alpha1.AudiencePod)
	}
	var tokens map[string]struct {
		Token               string    `json:"token"`
		ExpirationTimestamp time.Time `json:"expirationTimestamp"`
	}
	// The decoder's error may quote what it read, so it goes no further.
	if json.Unmarshal([]byte(inSecrets), &tokens) != nil {
		return podToken{}, invalidArgument("the service account tokens that the kubelet sent cannot be read")
	}
	token := tokens[v1alpha1.AudiencePod]
	if token.Token == "" {
		return podToken{}, failedPrecondition("the kubelet sent no service account token for the audience %s: the CSIDriver %s must have it in tokenRequests",
			v1alpha1.AudiencePod, v1alpha1.DriverName)
	}
	given := podToken{value: token.Token, expires: token.ExpirationTimestamp, workload: map[string]string{}}
	for audience, other := range tokens {
		// A token without an audience is for the API server, and goes nowhere; nor does one that has no business with a resolver.
		if audience != "" && audience != v1alpha1.AudiencePod && audience != v1alpha1.AudienceNode && other.Token != "" {
			given.workload[audience] = other.Token
		}
	}
	return given, nil
}

// Format makes every verb of package fmt print what String does.
func (t podToken) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(t.String())) }
