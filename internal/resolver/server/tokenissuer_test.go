package server

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/pipes"
)

const testIssuer = "https://kubernetes.default.svc"

// testClaims are those of a service account token.
type testClaims struct {
	jwt.Claims
	Kubernetes boundClaims `json:"kubernetes.io"`
}

// claimsAt are those of pod shop/one on node-a, with changes.
func claimsAt(expires time.Time, changes ...func(*testClaims)) testClaims {
	issued := jwt.NewNumericDate(expires.Add(-time.Hour))
	claims := testClaims{
		Claims: jwt.Claims{
			Issuer: testIssuer, Subject: "system:serviceaccount:shop:web", Audience: jwt.Audience{v1alpha1.AudiencePod},
			Expiry: jwt.NewNumericDate(expires), IssuedAt: issued, NotBefore: issued,
		},
		Kubernetes: boundClaims{
			Namespace: "shop", ServiceAccount: claimRef{"web", "uid-web"}, Pod: claimRef{"one", "uid of one"},
			Node: claimRef{"node-a", "uid-a"},
		},
	}
	for _, change := range changes {
		change(&claims)
	}
	return claims
}

// signer serves its keys as an API server does, whose keys cannot be rotated while it runs.
type signer struct {
	t   testing.TB
	api rest.Interface
	// refuses is whether nobody may read the keys, hangs whether nobody gets an answer; asked counts requests.
	refuses, hangs atomic.Bool
	asked          atomic.Int32

	mu       sync.Mutex
	key      jose.SigningKey
	served   []any // public keys
	announce string
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	s := &signer{t: t, announce: testIssuer}
	s.rotate("key-1")
	server, listener := pipes.NewServer(s)
	t.Cleanup(server.Close)
	clients, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1, Dial: listener.Dial})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	s.api = clients.CoreV1().RESTClient()
	return s
}

// rotate has tokens signed with another key, and serves that beside the former ones.
func (s *signer) rotate(id string) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	s.use(id, jose.ES256, key)
}

func (s *signer) use(id string, algorithm jose.SignatureAlgorithm, key crypto.Signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}
	s.served = append(s.served, jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(algorithm), Use: "sig"})
}

func (s *signer) serve(keys ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = keys
}

func (s *signer) sign(claims any) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	with, err := jose.NewSigner(s.key, nil)
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	token, err := jwt.Signed(with).Claims(claims).Serialize()
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	return token
}

func (s *signer) issuer(clk clock.PassiveClock) *TokenIssuer {
	return NewTokenIssuer(s.api, clk, logr.Discard())
}

func (s *signer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	if s.hangs.Load() {
		<-r.Context().Done()
		return
	}
	if s.refuses.Load() {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case discoveryPath:
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": s.announce})
	case keySetPath:
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": s.served})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestATokenIsVerifiedWithoutAReview(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, change := range map[string]func(*signer){
		"ES256": func(*signer) {},
		"RS256": func(s *signer) { s.use("rsa", jose.RS256, rsaKey) },
		"RS512": func(s *signer) { s.use("rsa", jose.RS512, rsaKey) },
		"beside a key of an unknown kind": func(s *signer) {
			s.serve(append([]any{map[string]any{"kty": "AKP", "alg": "ML-DSA-65", "kid": "x", "pub": "AA"}}, s.served...)...)
		},
		"beside another key of its name": func(s *signer) { s.rotate("key-2"); s.rotate("key-2") },
	} {
		t.Run(name, func(t *testing.T) {
			g, s := NewWithT(t), newSigner(t)
			change(s)
			issuer := s.issuer(clock.RealClock{})
			token := s.sign(claimsAt(time.Now().Add(time.Hour)))
			for range 100 {
				g.Expect(issuer.verify(t.Context(), token)).To(Equal(&tokenClaims{
					namespace: "shop", serviceAccount: "web", serviceAccountUID: "uid-web",
					podName: "one", podUID: "uid of one", nodeName: "node-a", nodeUID: "uid-a",
				}))
			}
			g.Expect(s.asked.Load()).To(BeEquivalentTo(2), "for the issuer and its keys, once")
		})
	}
}

func TestATokenIsNotTheAPIServersIf(t *testing.T) {
	now := time.Now()
	signed := func(change func(*testClaims)) func(*signer) string {
		return func(s *signer) string { return s.sign(claimsAt(now.Add(time.Hour), change)) }
	}
	for name, token := range map[string]func(*signer) string{
		"it is none":            func(*signer) string { return "garbage" },
		"it is very long":       func(s *signer) string { return s.sign(claimsAt(now.Add(time.Hour))) + strings.Repeat("A", 1<<20) },
		"another key signed it": func(s *signer) string { other := newSigner(s.t); return other.sign(claimsAt(now.Add(time.Hour))) },
		"an unknown key signed it": func(s *signer) string {
			s.rotate("key-2")
			s.serve(s.served[0])
			return s.sign(claimsAt(now.Add(time.Hour)))
		},
		"nobody signed it": func(*signer) string {
			claims, _ := json.Marshal(claimsAt(now.Add(time.Hour)))
			return unsigned(string(claims))
		},
		"a public key is taken for a shared one": func(s *signer) string {
			public, _ := json.Marshal(s.served[0])
			with, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: public, KeyID: "key-1"}}, nil)
			NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
			token, err := jwt.Signed(with).Claims(claimsAt(now.Add(time.Hour))).Serialize()
			NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
			return token
		},
		"it brings its own key": func(s *signer) string {
			other := newSigner(s.t)
			with, err := jose.NewSigner(other.key, &jose.SignerOptions{EmbedJWK: true})
			NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
			token, err := jwt.Signed(with).Claims(claimsAt(now.Add(time.Hour))).Serialize()
			NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
			return token
		},
		"its claims were changed": func(s *signer) string {
			parts := strings.Split(s.sign(claimsAt(now.Add(time.Hour))), ".")
			claims, _ := json.Marshal(claimsAt(now.Add(time.Hour), func(c *testClaims) { c.Kubernetes.Pod.Name = "two" }))
			return parts[0] + "." + strings.Split(unsigned(string(claims)), ".")[1] + "." + parts[2]
		},
		"another issuer made it": signed(func(c *testClaims) { c.Issuer = "https://another.cluster" }),
		"it names no issuer":     signed(func(c *testClaims) { c.Issuer = "" }),
		"it is for Vault":        signed(func(c *testClaims) { c.Audience = jwt.Audience{"vault"} }),
		"it is for nobody":       signed(func(c *testClaims) { c.Audience = nil }),
		"it is a node plugin's":  signed(func(c *testClaims) { c.Audience = jwt.Audience{v1alpha1.AudienceNode} }),
		"it expired":             signed(func(c *testClaims) { c.Expiry = jwt.NewNumericDate(now.Add(-2 * time.Minute)) }),
		"it never expires":       signed(func(c *testClaims) { c.Expiry = nil }),
		"it is not yet valid":    signed(func(c *testClaims) { c.NotBefore = jwt.NewNumericDate(now.Add(2 * time.Minute)) }),
		"its subject is another": signed(func(c *testClaims) { c.Subject = "system:serviceaccount:shop:db" }),
		"it has no subject":      signed(func(c *testClaims) { c.Subject = "" }),
	} {
		t.Run(name, func(t *testing.T) {
			g, s := NewWithT(t), newSigner(t)
			text := token(s)
			g.Expect(s.issuer(clock.RealClock{}).verify(t.Context(), text)).To(BeNil())
		})
	}
}

// Every claim differs in one row: the token is good, and not the grant's.
func TestAGrantNeedsTheTokenOfItsOwnPod(t *testing.T) {
	for name, change := range map[string]func(*testClaims){
		"namespace": func(c *testClaims) {
			c.Kubernetes.Namespace, c.Subject = "other", "system:serviceaccount:other:web"
		},
		"service account": func(c *testClaims) {
			c.Kubernetes.ServiceAccount.Name, c.Subject = "db", "system:serviceaccount:shop:db"
		},
		"UID of the service account": func(c *testClaims) { c.Kubernetes.ServiceAccount.UID = "another" },
		"pod":                        func(c *testClaims) { c.Kubernetes.Pod.Name = "two" },
		"UID of the pod":             func(c *testClaims) { c.Kubernetes.Pod.UID = "earlier" },
		"no pod":                     func(c *testClaims) { c.Kubernetes.Pod = claimRef{} },
		"node":                       func(c *testClaims) { c.Kubernetes.Node.Name = "node-b" },
		"UID of the node":            func(c *testClaims) { c.Kubernetes.Node.UID = "uid-b" },
		"no node":                    func(c *testClaims) { c.Kubernetes.Node = claimRef{} },
		"nothing":                    func(*testClaims) {},
	} {
		t.Run(name, func(t *testing.T) {
			f := newGranting(t)
			f.mount()
			f.request.PodToken = f.signer.sign(claimsAt(f.clock.Now().Add(30*time.Minute), change))
			authorization, err := f.replica().Authorize(t.Context(), f.node, f.request)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(authorization.by).To(Equal(map[bool]string{true: byGrant, false: byPod}[name == "nothing"]))
		})
	}
}

// Whoever has the lease key can make grants that say anything.
func TestAGrantOfOnesOwnMakingIsNothingWithoutThePodsToken(t *testing.T) {
	f := newGranting(t)
	mounted := f.mount()
	forger := f.replica()
	forge := func(token string) {
		f.request.PodToken = token
		grant, err := forger.grants.issue(t.Context(), mounted, f.request) // with the real key
		f.Expect(err).NotTo(HaveOccurred())
		f.request.Grant = grant
		f.Expect(f.open()).NotTo(BeNil(), "the grant itself is good")
	}
	f.cluster.says = nil // to the API server no token of the pod is valid
	forge(f.request.GetPodToken())
	authorization, err := f.replica().Authorize(t.Context(), f.node, f.request)
	f.Expect(err).NotTo(HaveOccurred(), "the control: with the pod's token it is accepted")
	f.Expect(authorization.by).To(Equal(byGrant))

	claims, err := json.Marshal(claimsAt(f.clock.Now().Add(time.Hour)))
	f.Expect(err).NotTo(HaveOccurred())
	for name, token := range map[string]string{
		"unsigned": unsigned(string(claims)), "signed by the forger": newSigner(t).sign(claimsAt(f.clock.Now().Add(time.Hour))),
	} {
		forge(token)
		_, err = f.replica().Authorize(t.Context(), f.node, f.request)
		f.Expect(err).To(MatchError(ContainSubstring("the pod's token is not valid")), name)
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	g, s := NewWithT(t), newSigner(t)
	clk := testingclock.NewFakePassiveClock(time.Now())
	after := func(d time.Duration) { clk.SetTime(clk.Now().Add(d)) }
	var logged []string
	issuer := NewTokenIssuer(s.api, clk, funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{}))
	good := func() bool {
		return issuer.verify(t.Context(), s.sign(claimsAt(clk.Now().Add(time.Hour)))) != nil
	}
	readings := func() int { return int(s.asked.Swap(0)) / 2 }
	g.Expect(good()).To(BeTrue())
	g.Expect(readings()).To(Equal(1))

	s.rotate("key-2")
	for range 50 {
		g.Expect(good()).To(BeFalse(), "the new key was read for a moment ago")
	}
	g.Expect(readings()).To(BeZero())
	after(keysPause)
	g.Expect(good()).To(BeTrue(), "a token names a key that is not known")
	g.Expect(readings()).To(Equal(1))

	for i := range 50 {
		after(keysPause / 10)
		token := s.sign(claimsAt(clk.Now().Add(time.Hour)))
		s.rotate(fmt.Sprint("key-unknown-", i))
		s.serve(s.served[:2]...)
		g.Expect(issuer.verify(t.Context(), token) != nil).To(Equal(i == 0))
	}
	g.Expect(readings()).To(BeNumerically("~", 5, 1), "a token may name any key")

	s.rotate("key-3")
	after(keysPause)
	g.Expect(good()).To(BeTrue())
	after(keysFresh - time.Second)
	readings()
	g.Expect(good()).To(BeTrue())
	g.Expect(readings()).To(BeZero())
	after(time.Second)
	s.refuses.Store(true)
	g.Expect(good()).To(BeTrue(), "old keys stand, if there are no others to be had")
	g.Expect(s.asked.Swap(0)).To(BeEquivalentTo(1))
	g.Expect(good()).To(BeTrue())
	g.Expect(s.asked.Swap(0)).To(BeZero())
	after(keysLife - keysFresh)
	g.Expect(good()).To(BeFalse(), "but not forever")
	g.Expect(logged).To(HaveLen(1))
	g.Expect(logged[0]).To(ContainSubstring("the keys of service account tokens cannot be read"))
	s.refuses.Store(false)
	after(keysPause)
	g.Expect(good()).To(BeTrue())
	g.Expect(logged).To(HaveLen(2))

	former := s.sign(claimsAt(clk.Now().Add(time.Hour)))
	s.rotate("key-4")
	s.serve(s.served[len(s.served)-1])
	after(keysFresh)
	g.Expect(issuer.verify(t.Context(), former)).To(BeNil(), "its key was taken away")
	g.Expect(good()).To(BeTrue())
}

func TestASignatureIsLookedAtOnce(t *testing.T) {
	g, s := NewWithT(t), newSigner(t)
	clk := testingclock.NewFakePassiveClock(time.Now().Truncate(time.Second)) // as tokens count
	after := func(d time.Duration) { clk.SetTime(clk.Now().Add(d)) }
	issuer, expires := s.issuer(clk), clk.Now().Add(time.Hour)
	one := tokenClaims{
		namespace: "shop", serviceAccount: "web", serviceAccountUID: "uid-web",
		podName: "one", podUID: "uid of one", nodeName: "node-a", nodeUID: "uid-a",
	}
	token := s.sign(claimsAt(expires))
	verifies := func(token string, change func(*tokenClaims)) bool {
		claims := one
		change(&claims)
		return issuer.verifies(t.Context(), token, &claims)
	}
	same := func(*tokenClaims) {}
	// blind is an issuer that would find no signature good.
	blind := func() (undo func()) {
		known := issuer.known.Load()
		issuer.known.Store(&issuerKeys{issuer: "nobody", keys: known.keys, read: known.read, set: known.set})
		return func() { issuer.known.Store(known) }
	}
	g.Expect(verifies(token, same)).To(BeTrue())
	undo := blind()
	g.Expect(verifies(token, same)).To(BeTrue(), "it is remembered")
	for name, change := range map[string]func(*tokenClaims){
		"pod":             func(c *tokenClaims) { c.podUID = "another" },
		"node":            func(c *tokenClaims) { c.nodeUID = "another" },
		"service account": func(c *tokenClaims) { c.serviceAccount = "another" },
		"namespace":       func(c *tokenClaims) { c.namespace, c.serviceAccount = "sho", "pweb" },
	} {
		g.Expect(verifies(token, change)).To(BeFalse(), "for another %s", name)
	}
	g.Expect(verifies(token+"A", same)).To(BeFalse(), "another token")
	g.Expect(verifies(strings.Repeat("A", maxTokenBytes+1), same)).To(BeFalse())
	undo()

	set := issuer.known.Load().set
	after(keysFresh)
	g.Expect(verifies(token, same)).To(BeTrue())
	g.Expect(issuer.known.Load().set).To(Equal(set), "the same keys, read again")
	blind()
	g.Expect(verifies(token, same)).To(BeTrue(), "still remembered")

	s.rotate("key-2")
	after(keysFresh)
	g.Expect(verifies(token, same)).To(BeTrue(), "a key came, and the former one is still served")
	g.Expect(issuer.known.Load().set).NotTo(Equal(set))
	s.serve(s.served[1:]...)
	after(keysFresh)
	g.Expect(verifies(token, same)).To(BeFalse(), "its key was taken away")

	other := s.sign(claimsAt(expires))
	g.Expect(verifies(other, same)).To(BeTrue())
	s.refuses.Store(true)
	after(keysLife)
	g.Expect(verifies(other, same)).To(BeFalse(), "the keys are too old")
	s.refuses.Store(false)
	after(keysPause)
	g.Expect(verifies(other, same)).To(BeTrue())
	clk.SetTime(expires.Add(tokenClockSkew))
	g.Expect(verifies(other, same)).To(BeTrue())
	clk.SetTime(expires.Add(tokenClockSkew + time.Second))
	g.Expect(verifies(other, same)).To(BeFalse(), "it has expired")
}

func TestVerifiedTokensAreBoundedForANamespaceAndInAll(t *testing.T) {
	g, v := NewWithT(t), newVerifiedTokens()
	victim := v.digestOf("token", &tokenClaims{namespace: "victim"})
	v.tokens.Add("victim", victim, verifiedToken{}, verifiedPrice)
	for i := range 4 * maxVerified {
		namespace := fmt.Sprint("greedy-", i%7)
		v.tokens.Add(namespace, v.digestOf(fmt.Sprint(i), &tokenClaims{namespace: namespace}), verifiedToken{}, verifiedPrice)
	}
	g.Expect(v.tokens.Len()).To(Equal(maxVerified))
	_, found := v.tokens.Get(victim)
	g.Expect(found).To(BeTrue(), "others make room")
	for i := range 2 * maxVerified {
		v.tokens.Add("greedy", v.digestOf(fmt.Sprint(i), &tokenClaims{namespace: "greedy"}), verifiedToken{}, verifiedPrice)
	}
	g.Expect(v.tokens.Fits("greedy", 1)).To(BeFalse())
	g.Expect(v.tokens.Len()).To(BeNumerically("<=", maxVerified))
}

func TestKeysThatAreNoneAreNotTaken(t *testing.T) {
	for name, change := range map[string]func(*signer){
		"no key":       func(s *signer) { s.serve() },
		"no issuer":    func(s *signer) { s.announce = "" },
		"a shared key": func(s *signer) { s.serve(jose.JSONWebKey{Key: []byte("0123456789abcdef"), KeyID: "key-1"}) },
		"a private key": func(s *signer) {
			s.serve(s.key.Key)
		},
		"words": func(s *signer) { s.serve("key") },
	} {
		t.Run(name, func(t *testing.T) {
			g, s := NewWithT(t), newSigner(t)
			change(s)
			issuer := s.issuer(clock.RealClock{})
			g.Expect(issuer.verify(t.Context(), s.sign(claimsAt(time.Now().Add(time.Hour))))).To(BeNil())
			g.Expect(issuer.known.Load().keys).To(BeEmpty())
		})
	}
}

func TestAnAPIServerThatHangsHoldsNobodyUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := NewWithT(t), newSigner(t)
		s.hangs.Store(true)
		issuer := s.issuer(clock.RealClock{})
		token := s.sign(claimsAt(time.Now().Add(time.Hour)))
		var waits [20]time.Duration
		var callers sync.WaitGroup
		for i := range waits {
			callers.Go(func() {
				begun := time.Now()
				issuer.verify(t.Context(), token)
				waits[i] = time.Since(begun)
			})
		}
		callers.Wait()
		g.Expect(waits[:]).To(HaveEach(keysTimeout))
		begun := time.Now()
		for range 10 {
			g.Expect(issuer.verify(t.Context(), token)).To(BeNil())
		}
		g.Expect(time.Since(begun)).To(BeZero(), "it is not asked again at once")
		g.Expect(s.asked.Load()).To(BeEquivalentTo(1))
	})
}
