package server

import (
	"time"

	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/shares"
)

// maxVerified is how many tokens are remembered whose signature was verified, and maxVerifiedOfNamespace those of one
// namespace's pods, in the container that is shipped; a larger one remembers more. Others are verified at each refresh.
// verifiedPrice is what each takes of the heap.
const (
	verifiedPrice          = 300
	maxVerified            = 16_384
	maxVerifiedOfNamespace = maxVerified / 4
)

// verifiedTokens are tokens of pods whose signature was verified, in memory only, by a digest of the token and of what
// it says.
type verifiedTokens struct {
	hash   *tokenHash
	tokens *shares.Cache[tokenDigest, verifiedToken]
}

// verifiedToken is what a signature was verified with, and until when the token is good.
type verifiedToken struct {
	keyID   string
	set     int
	expires time.Time
}

func newVerifiedTokens() verifiedTokens {
	all, share := heap.Growing(maxVerified*verifiedPrice, maxVerifiedOfNamespace*verifiedPrice)
	return verifiedTokens{hash: newTokenHash(), tokens: shares.NewCache[tokenDigest, verifiedToken](all, share)}
}

// digestOf is the digest of a token that says this. No name and no UID holds a zero byte.
func (v *verifiedTokens) digestOf(token string, claims *tokenClaims) tokenDigest {
	return v.hash.of(claims.namespace, claims.serviceAccount, claims.serviceAccountUID, claims.podName, claims.podUID,
		claims.nodeName, claims.nodeUID, token)
}
