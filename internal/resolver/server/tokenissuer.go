package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/flight"
)

// +kubebuilder:rbac:urls=/.well-known/openid-configuration;/openid/v1/jwks,verbs=get

// Where the API server says who issues service account tokens, and with which keys (KEP-1393). It serves keys of an
// external signer there, too (KEP-740).
const (
	discoveryPath = "/.well-known/openid-configuration"
	keySetPath    = "/openid/v1/jwks"
)

const (
	// keysFresh is how long keys are not read again, and keysLife until when they are used if they cannot be: one that was
	// taken away is used no longer. The API server itself lets them be kept for an hour.
	keysFresh, keysLife = 5 * time.Minute, 10 * time.Minute
	// keysPause is the least time between two readings, whatever has come of the first: a token may name any key.
	keysPause = 10 * time.Second
	// keysTimeout bounds how long a reading holds up those who want a key: they can do without.
	keysTimeout = 2 * time.Second
)

// signatureAlgorithms are those that an API server may sign with. None is symmetric.
var signatureAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
}

// TokenIssuer verifies the signatures of service account tokens with the API server's public keys, of which it keeps a
// copy. What a review says beyond that it does not know: whether pod and service account are still there.
type TokenIssuer struct {
	api   rest.Interface
	clock clock.PassiveClock
	log   logr.Logger

	known    atomic.Pointer[issuerKeys]
	verified verifiedTokens
	reads    flight.Group[struct{}]
	// pausedUntil is when keys may be read again, and failing whether the last reading failed. Only a flight uses them, of
	// which there is one at a time.
	pausedUntil time.Time
	failing     bool
}

// issuerKeys are what the API server said when they were read. The zero value knows none.
type issuerKeys struct {
	issuer string
	keys   []jose.JSONWebKey
	read   time.Time
	// set is another number for other keys, or another issuer, and the same however often these are read; zero: none.
	set int
}

// NewTokenIssuer returns a TokenIssuer that reads the keys with api, when the first token is verified.
func NewTokenIssuer(api rest.Interface, clk clock.PassiveClock, log logr.Logger) *TokenIssuer {
	i := &TokenIssuer{api: api, clock: clk, log: log, verified: newVerifiedTokens()}
	i.known.Store(&issuerKeys{})
	return i
}

// verifies tells whether a pod's token is one that the API server has signed for the resolver, says exactly this, and
// has not expired. The signature is looked at once for a token, as long as the API server serves the same keys.
func (i *TokenIssuer) verifies(ctx context.Context, token string, claims *tokenClaims) bool {
	if len(token) > maxTokenBytes {
		return false
	}
	digest := i.verified.digestOf(token, claims)
	seen, remembered := i.verified.tokens.Get(digest)
	expired := i.clock.Now().Add(-tokenClockSkew).After(seen.expires)
	if remembered && !expired && i.keysWith(ctx, seen.keyID).set == seen.set {
		return true
	}
	found, seen := i.look(ctx, token)
	if found == nil || *found != *claims {
		return false
	}
	i.verified.tokens.Add(claims.namespace, digest, seen, verifiedPrice)
	return true
}

// verify returns the claims of a pod's token that the API server has signed for the resolver, and that has not expired;
// nil: it is none, or there is no telling, for the keys cannot be had.
func (i *TokenIssuer) verify(ctx context.Context, token string) *tokenClaims {
	claims, _ := i.look(ctx, token)
	return claims
}

// look is verify, and tells what the signature was verified with.
func (i *TokenIssuer) look(ctx context.Context, token string) (*tokenClaims, verifiedToken) {
	none := verifiedToken{}
	if len(token) > maxTokenBytes {
		return nil, none
	}
	signed, err := jwt.ParseSigned(token, signatureAlgorithms)
	if err != nil || len(signed.Headers) != 1 {
		return nil, none
	}
	known := i.keysWith(ctx, signed.Headers[0].KeyID)
	for n := range known.keys {
		var claims jwt.Claims
		var bound struct {
			To boundClaims `json:"kubernetes.io"`
		}
		if known.keys[n].KeyID != signed.Headers[0].KeyID || signed.Claims(&known.keys[n], &claims, &bound) != nil {
			continue
		}
		expected := jwt.Expected{
			Issuer: known.issuer, Subject: bound.To.subject(), AnyAudience: jwt.Audience{v1alpha1.AudiencePod},
			Time: i.clock.Now(),
		}
		if claims.Expiry == nil || claims.ValidateWithLeeway(expected, tokenClockSkew) != nil {
			return nil, none
		}
		return &tokenClaims{
			namespace: bound.To.Namespace, serviceAccount: bound.To.ServiceAccount.Name,
			serviceAccountUID: bound.To.ServiceAccount.UID, podName: bound.To.Pod.Name, podUID: bound.To.Pod.UID,
			nodeName: bound.To.Node.Name, nodeUID: bound.To.Node.UID,
		}, verifiedToken{keyID: known.keys[n].KeyID, set: known.set, expires: claims.Expiry.Time()}
	}
	return nil, none
}

// keysWith returns the keys, read again if they are old or if none has this ID; empty: none that is known has.
func (i *TokenIssuer) keysWith(ctx context.Context, id string) *issuerKeys {
	known := i.known.Load()
	if known.have(id) && i.clock.Since(known.read) < keysFresh {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	_, _, _ = i.reads.Join(ctx, keySetPath, keysTimeout, i.read) // what has come of it is in known
	if known = i.known.Load(); known.have(id) && i.clock.Since(known.read) < keysLife {
		return known
	}
	return &issuerKeys{}
}

func (k *issuerKeys) have(id string) bool {
	return slices.ContainsFunc(k.keys, func(key jose.JSONWebKey) bool { return key.KeyID == id })
}

// same tells whether tokens are verified by both in the same way.
func (k *issuerKeys) same(other *issuerKeys) bool {
	one, err := json.Marshal(k.keys)
	another, failed := json.Marshal(other.keys)
	return err == nil && failed == nil && k.issuer == other.issuer && bytes.Equal(one, another)
}

// read asks the API server for its keys, unless it was asked a moment ago. Only a change of the outcome is logged.
func (i *TokenIssuer) read(ctx context.Context) (none struct{}, _ error) {
	now := i.clock.Now()
	if now.Before(i.pausedUntil) {
		return none, nil
	}
	i.pausedUntil = now.Add(keysPause)
	issuer, keys, err := i.ask(ctx)
	if err == nil {
		former := i.known.Load()
		next := &issuerKeys{issuer: issuer, keys: keys, read: now, set: former.set}
		if !next.same(former) {
			next.set++
		}
		i.known.Store(next)
	}
	if failed := err != nil; failed != i.failing {
		i.failing = failed
		if failed {
			i.log.Info("the keys of service account tokens cannot be read; without them no grant is good, and refreshes are "+
				"authorised in full", "path", keySetPath, "cause", err.Error())
		} else {
			i.log.Info("the keys of service account tokens can be read again", "path", keySetPath)
		}
	}
	return none, nil
}

// ask reads keys and the issuer's name. A key of a kind that is not known here is left out.
func (i *TokenIssuer) ask(ctx context.Context) (issuer string, keys []jose.JSONWebKey, _ error) {
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	for path, into := range map[string]any{discoveryPath: &discovery, keySetPath: &set} {
		content, err := i.api.Get().AbsPath(path).SetHeader("Accept", "*/*").DoRaw(ctx)
		if err != nil {
			return "", nil, err
		}
		if err := json.Unmarshal(content, into); err != nil {
			return "", nil, err
		}
	}
	for _, content := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(content) == nil && key.IsPublic() && key.Valid() {
			keys = append(keys, key)
		}
	}
	if discovery.Issuer == "" || len(keys) == 0 {
		return "", nil, errors.New("the API server names no issuer, or no key")
	}
	return discovery.Issuer, keys, nil
}
