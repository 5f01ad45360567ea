package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"sallyport.dev/sallyport/internal/shares"
)

// maxVerified bounds how many tokens are remembered whose signature was verified, and maxVerifiedOfNamespace those of
// one namespace's pods, at some 300 bytes each. Others are verified at each refresh.
const (
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
	v := verifiedTokens{tokens: shares.NewCache[tokenDigest, verifiedToken](maxVerified, maxVerifiedOfNamespace)}
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
