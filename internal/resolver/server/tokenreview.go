package server

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// Claims of a pod-bound service account token, as TokenReview returns them; the node claim is there from Kubernetes
// 1.32 on (KEP-4193).
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
	extraNodeUID  = "authentication.kubernetes.io/node-uid"

	serviceAccountPrefix = "system:serviceaccount:"
)

const (
	// acceptedTTL is how long an accepted token is not reviewed again. A deleted pod's token works this long at most.
	acceptedTTL = 10 * time.Second
	// maxAccepted bounds the memory that accepted tokens take.
	maxAccepted = 8192
)

// tokenClaims are the claims of a token that the API server accepted.
type tokenClaims struct {
	namespace, serviceAccount string
	podName, podUID           string
	nodeName, nodeUID         string
}

// tokenReviewer has the API server review tokens. It remembers for a moment what was accepted, by the digest of the
// token, and only in memory. Denials are not remembered.
type tokenReviewer struct {
	reviews  authenticationclient.TokenReviewInterface
	accepted *cache.LRUExpireCache
}

func newTokenReviewer(reviews authenticationclient.TokenReviewInterface) *tokenReviewer {
	return &tokenReviewer{reviews: reviews, accepted: cache.NewLRUExpireCache(maxAccepted)}
}

// review has a token reviewed for one audience (authentication.k8s.io/v1 TokenReview).
func (r *tokenReviewer) review(ctx context.Context, token, audience, whose string) (*tokenClaims, error) {
	if token == "" {
		return nil, refuse("%s is missing", whose)
	}
	if claims := r.recentlyAccepted(token, audience); claims != nil {
		return claims, nil
	}
	review, err := r.reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		// The error is the API server's and speaks of the request, not of the token; it is still not passed on, to be
		// sure.
		return nil, fault.Transient(v1alpha1.ReasonInternal,
			"%s cannot be reviewed: the Kubernetes API did not answer the TokenReview", whose)
	}
	claims, err := claimsOf(review.Status, audience, whose)
	if err != nil {
		return nil, err
	}
	r.accepted.Add(digestOf(token, audience), claims, acceptedTTL)
	return claims, nil
}

// recentlyAccepted returns what a review said of a token a moment ago; nil: it was not reviewed, or not accepted.
func (r *tokenReviewer) recentlyAccepted(token, audience string) *tokenClaims {
	known, _ := r.accepted.Get(digestOf(token, audience))
	claims, _ := known.(*tokenClaims)
	return claims
}

func digestOf(token, audience string) [sha256.Size]byte {
	return sha256.Sum256([]byte(audience + "\x00" + token))
}

// claimsOf reads the claims of a reviewed token and insists on every one of them.
func claimsOf(status authenticationv1.TokenReviewStatus, audience, whose string) (*tokenClaims, error) {
	if !status.Authenticated {
		return nil, refuse("%s is not valid for audience %s: it expired, its pod is gone, or it was made for something else",
			whose, audience)
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
	claims := &tokenClaims{
		namespace: namespace, serviceAccount: serviceAccount,
		podName: claim(extraPodName), podUID: claim(extraPodUID),
		nodeName: claim(extraNodeName), nodeUID: claim(extraNodeUID),
	}
	if claims.podName == "" || claims.podUID == "" {
		return nil, refuse("%s is not bound to a pod", whose)
	}
	if claims.nodeName == "" {
		return nil, refuse("%s does not say on which node its pod runs; Kubernetes 1.32 or newer is needed", whose)
	}
	return claims, nil
}

func refuse(format string, args ...any) error {
	return fault.Waiting(v1alpha1.ReasonNotAllowed, format, args...)
}
