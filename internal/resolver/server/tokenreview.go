package server

import (
	"context"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/flight"
)

// Claims of a pod-bound service account token, as TokenReview returns them; the node claim is there from Kubernetes
// 1.32 on (KEP-4193).
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
	extraNodeUID  = "authentication.kubernetes.io/node-uid"
)

const (
	// acceptedTTL is how long an accepted token of a pod is not reviewed again, and acceptedNodeTTL one of a node plugin,
	// which comes with every request. This long, and apiServerTTL and admittedFor, does the token of a plugin work whose
	// pod was deleted.
	acceptedTTL     = 10 * time.Second
	acceptedNodeTTL = 30 * time.Second
	// refusedTTL is how long a token that the API server refused is not reviewed again. It is short, for an API server may
	// not have seen a new pod yet.
	refusedTTL = 3 * time.Second
	// knownTTL is how long a node plugin's token that was accepted has a share of its own.
	knownTTL = 10 * time.Minute
	// reviewTimeout bounds a review.
	reviewTimeout = 10 * time.Second
	// maxAccepted bounds the memory that each kind of remembered tokens takes.
	maxAccepted = 8192
)

// tokenClaims are the claims of a token that the API server accepted.
type tokenClaims struct {
	namespace, serviceAccount string
	serviceAccountUID         string
	podName, podUID           string
	nodeName, nodeUID         string
}

// tokenReviewer has the API server review tokens. It remembers for a moment what was accepted and what was refused, in
// memory only, by a digest.
type tokenReviewer struct {
	reviews authenticationclient.TokenReviewInterface
	limits  *callerLimits
	hash    *tokenHash
	// accepted and refused are what reviews said. In known are the node plugins' tokens that were accepted, for longer: to
	// review one of these again takes nothing from what callers share that are not known.
	accepted, refused, known *cache.LRUExpireCache
	flights                  flight.Group[*tokenClaims]
}

func newTokenReviewer(reviews authenticationclient.TokenReviewInterface, limits *callerLimits) *tokenReviewer {
	return &tokenReviewer{
		reviews: reviews, limits: limits, hash: newTokenHash(), accepted: cache.NewLRUExpireCache(maxAccepted),
		refused: cache.NewLRUExpireCache(maxAccepted), known: cache.NewLRUExpireCache(maxAccepted),
	}
}

// review has a token reviewed for one audience (authentication.k8s.io/v1 TokenReview). node is the node that brought
// it; empty: it is the caller's own token. Callers with the same token share a review.
func (r *tokenReviewer) review(ctx context.Context, token, audience, whose, node string) (*tokenClaims, error) {
	if token == "" {
		return nil, refuse("%s is missing", whose)
	}
	if claims := r.recentlyAccepted(token, audience); claims != nil {
		return claims, nil
	}
	digest := r.digestOf(token, audience)
	if _, found := r.refused.Get(digest); found {
		return nil, notValid(whose, audience)
	}
	if err := refuseUnreviewed(token, audience, whose, time.Now()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	claims, landed, err := r.flights.Join(ctx, string(digest[:]), reviewTimeout,
		func(ctx context.Context) (*tokenClaims, error) { return r.ask(ctx, token, audience, whose, node) })
	if !landed {
		return nil, unreviewed(whose)
	}
	return claims, err
}

// ask creates the TokenReview, if the caller's share has one left.
func (r *tokenReviewer) ask(ctx context.Context, token, audience, whose, node string) (*tokenClaims, error) {
	digest := r.digestOf(token, audience)
	if claims := r.recentlyAccepted(token, audience); claims != nil {
		return claims, nil // an earlier flight landed in between
	}
	if _, known := r.known.Get(digest); !known {
		limit := r.limits.unknown
		if node != "" {
			limit = func(ctx context.Context) error { return r.limits.node(ctx, node) }
		}
		if err := limit(ctx); err != nil {
			return nil, err
		}
	}
	review, err := r.reviews.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, unreviewed(whose)
	}
	claims, err := claimsOf(review.Status, audience, whose)
	if err != nil {
		if !review.Status.Authenticated {
			r.refused.Add(digest, nil, refusedTTL)
		}
		r.known.Remove(digest)
		return nil, err
	}
	ttl := acceptedTTL
	if node == "" {
		ttl = acceptedNodeTTL
		r.known.Add(digest, nil, knownTTL)
		r.limits.accepted(ctx)
	}
	r.accepted.Add(digest, claims, ttl)
	return claims, nil
}

// recentlyAccepted returns what a review said of a token a moment ago; nil: it was not reviewed, or not accepted.
func (r *tokenReviewer) recentlyAccepted(token, audience string) *tokenClaims {
	known, _ := r.accepted.Get(r.digestOf(token, audience))
	claims, _ := known.(*tokenClaims)
	return claims
}

func (r *tokenReviewer) digestOf(token, audience string) tokenDigest {
	return r.hash.of(audience, token)
}

// unreviewed is the fault of a review without an answer. The error is the API server's and speaks of the request, not
// of the token; it is still not passed on, to be sure.
func unreviewed(whose string) error {
	return fault.Transient(v1alpha1.ReasonInternal,
		"%s cannot be reviewed: the Kubernetes API did not answer the TokenReview", whose)
}

// claimsOf reads the claims of a reviewed token and insists on every one of them.
func claimsOf(status authenticationv1.TokenReviewStatus, audience, whose string) (*tokenClaims, error) {
	if !status.Authenticated {
		return nil, notValid(whose, audience)
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
		namespace: namespace, serviceAccount: serviceAccount, serviceAccountUID: status.User.UID,
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
