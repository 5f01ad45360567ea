package server

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

const (
	serviceAccountPrefix = "system:serviceaccount:"

	// maxTokenBytes bounds a token: one of a service account has one to two KiB.
	maxTokenBytes = 8 << 10
	// tokenClockSkew is how far the API server's clock may be behind ours.
	tokenClockSkew = time.Minute
)

// unreviewedClaims are what a token says of itself. Nobody has checked the signature: a token that says something wrong
// is refused by it without a request, and one that says the right thing is nothing yet.
type unreviewedClaims struct {
	Subject    string      `json:"sub"`
	Audiences  audiences   `json:"aud"`
	Expires    float64     `json:"exp"`
	Kubernetes boundClaims `json:"kubernetes.io"`
}

// boundClaims are what a service account token says of itself beside the registered claims (privateClaims in
// kubernetes/pkg/serviceaccount).
type boundClaims struct {
	Namespace      string   `json:"namespace"`
	ServiceAccount claimRef `json:"serviceaccount"`
	Pod            claimRef `json:"pod"`
	Node           claimRef `json:"node"`
}

type claimRef struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// subject is the claim sub of the token.
func (c *boundClaims) subject() string {
	return serviceAccountPrefix + c.Namespace + ":" + c.ServiceAccount.Name
}

// audiences is the claim aud, which may be one string (RFC 7519, section 4.1.3).
type audiences []string

// UnmarshalJSON takes both forms.
func (a *audiences) UnmarshalJSON(content []byte) error {
	var one string
	if json.Unmarshal(content, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(content, (*[]string)(a))
}

// parseUnreviewed reads the claims of a token; false: it has not the form of one (RFC 7515, section 7.1).
func parseUnreviewed(token string) (claims unreviewedClaims, ok bool) {
	if len(token) > maxTokenBytes {
		return claims, false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return claims, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims, false
	}
	return claims, json.Unmarshal(payload, &claims) == nil
}

// pod is the pod that the token names.
func (c *unreviewedClaims) pod() (types.NamespacedName, bool) {
	key := types.NamespacedName{Namespace: c.Kubernetes.Namespace, Name: c.Kubernetes.Pod.Name}
	return key, key.Namespace != "" && key.Name != ""
}

// refuseUnreviewed refuses a token by what it says of itself, so that it costs no request to the API server.
func refuseUnreviewed(token, audience, whose string, now time.Time) error {
	claims, ok := parseUnreviewed(token)
	if !ok || !slices.Contains(claims.Audiences, audience) ||
		!strings.HasPrefix(claims.Subject, serviceAccountPrefix) ||
		now.Add(-tokenClockSkew).After(time.Unix(int64(claims.Expires), 0)) {
		return notValid(whose, audience)
	}
	return nil
}

func notValid(whose, audience string) error {
	return refuse("%s is not valid for audience %s: it expired, its pod is gone, or it was made for something else",
		whose, audience)
}

func refuse(format string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonNotAllowed, format, args...)
}
