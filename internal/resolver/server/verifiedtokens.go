package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
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

// verifiedTokens are tokens of pods whose signature was verified, in memory only, by a hash of the token and of what it
// says, that is keyed with a key of the process: it is of no use to anybody else.
type verifiedTokens struct {
	key    [32]byte
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
	v := verifiedTokens{tokens: shares.NewCache[tokenDigest, verifiedToken](all, share)}
	_, _ = rand.Read(v.key[:]) // it ends the process rather than fail
	return v
}

// digestOf is the hash of a token that says this. No name and no UID holds a zero byte.
func (v *verifiedTokens) digestOf(token string, claims *tokenClaims) (digest tokenDigest) {
	mac := hmac.New(sha256.New, v.key[:])
	_, _ = mac.Write([]byte(strings.Join([]string{ // a hash takes every write
		claims.namespace, claims.serviceAccount, claims.serviceAccountUID, claims.podName, claims.podUID, claims.nodeName,
		claims.nodeUID, token,
	}, "\x00")))
	mac.Sum(digest[:0])
	return digest
}
