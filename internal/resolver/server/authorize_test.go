package server

import (
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAReviewInsistsOnEveryClaim(t *testing.T) {
	valid := func() authenticationv1.TokenReviewStatus {
		return authenticationv1.TokenReviewStatus{
			Authenticated: true,
			Audiences:     []string{v1alpha1.AudiencePod},
			User: authenticationv1.UserInfo{
				Username: "system:serviceaccount:shop:web", UID: "uid-web",
				Extra: map[string]authenticationv1.ExtraValue{
					extraPodName: {"web-1"}, extraPodUID: {"uid-1"}, extraNodeName: {"node-a"}, extraNodeUID: {"uid-a"},
				},
			},
		}
	}
	claims, err := claimsOf(valid(), v1alpha1.AudiencePod, "the pod's token")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(*claims).To(Equal(tokenClaims{
		namespace: "shop", serviceAccount: "web", serviceAccountUID: "uid-web", podName: "web-1", podUID: "uid-1",
		nodeName: "node-a", nodeUID: "uid-a",
	}))

	for name, test := range map[string]struct {
		mutate   func(*authenticationv1.TokenReviewStatus)
		sentence string
	}{
		"a token that the API server rejects": {
			func(s *authenticationv1.TokenReviewStatus) { s.Authenticated = false },
			"the pod's token is not valid for audience sallyport.dev"},
		"an API server that ignores audiences": {
			func(s *authenticationv1.TokenReviewStatus) { s.Audiences = nil },
			"was not reviewed for audience sallyport.dev"},
		"another audience": {
			func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{v1alpha1.AudienceNode} },
			"was not reviewed for audience sallyport.dev"},
		"a user that is no service account": {
			func(s *authenticationv1.TokenReviewStatus) { s.User.Username = "system:node:node-a" },
			"belongs to no service account"},
		"a token without pod": {
			func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, extraPodName) },
			"is not bound to a pod"},
		"a token without pod UID": {
			func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, extraPodUID) },
			"is not bound to a pod"},
		"a pod claim with two values": {
			func(s *authenticationv1.TokenReviewStatus) { s.User.Extra[extraPodUID] = []string{"a", "b"} },
			"is not bound to a pod"},
		"a token without node": {
			func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, extraNodeName) },
			"does not say on which node its pod runs"},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			status := valid()
			test.mutate(&status)
			_, err := claimsOf(status, v1alpha1.AudiencePod, "the pod's token")
			NewWithT(t).Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue())
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(test.sentence)))
		})
	}
}
