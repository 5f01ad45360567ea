package server

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/lease"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// granting is a pod with a volume, and replicas that share their keys.
type granting struct {
	Gomega
	t       testing.TB
	cluster *cluster
	secrets kubernetes.Interface
	signer  *signer
	clock   *testingclock.FakePassiveClock
	node    string
	request *resolverv1.ResolveRequest
}

func newGranting(t testing.TB) *granting {
	t.Helper()
	one := &tokenClaims{
		namespace: "shop", serviceAccount: "web", serviceAccountUID: "uid-web",
		podName: "one", podUID: "uid of one", nodeName: "node-a", nodeUID: "uid-a",
	}
	f := &granting{
		Gomega: NewWithT(t), t: t, cluster: &cluster{says: one}, secrets: fake.NewClientset(), signer: newSigner(t),
		clock: testingclock.NewFakePassiveClock(time.Now()), node: nodeToken("node-a"),
	}
	f.request = requestFor(f.podToken("one", one.podUID, "web", "uid-web", f.clock.Now().Add(time.Hour)))
	f.request.VolumeId = kubeletVolumeID(types.UID(one.podUID), "")
	return f
}

// podToken is a token that the API server has signed, and that says these things.
func (f *granting) podToken(pod, podUID, account, accountUID string, expires time.Time) string {
	return f.signer.sign(claimsAt(expires, func(c *testClaims) {
		c.Subject = "system:serviceaccount:shop:" + account
		c.Kubernetes.Pod, c.Kubernetes.ServiceAccount = claimRef{pod, podUID}, claimRef{account, accountUID}
	}))
}

// replica is another one, which remembers no review and has the keys of tokens.
func (f *granting) replica() *Authorizer {
	return authorizerWith(f.cluster, f.secrets, f.clock, f.signer.issuer(f.clock))
}

// mount has the volume authorised in full and puts the grant into the request.
func (f *granting) mount() *Authorization {
	f.t.Helper()
	replica := f.replica()
	authorization, err := replica.Authorize(f.t.Context(), f.node, f.request)
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(authorization.by).To(Equal(byPod))
	f.request.Grant = replica.Grant(f.t.Context(), authorization, f.request)
	f.Expect(f.request.GetGrant()).NotTo(BeEmpty())
	f.forget()
	return authorization
}

func (f *granting) forget() {
	f.cluster.ofPods.Store(0)
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	f.cluster.read = nil
}

// asked tells what the API server was asked about the pod.
func (f *granting) asked() (reviews int, reads []string) {
	f.cluster.mu.Lock()
	defer f.cluster.mu.Unlock()
	return int(f.cluster.ofPods.Load()), slices.Clone(f.cluster.read)
}

// open is the grant of the request, as a replica reads it.
func (f *granting) open() *grant {
	replica := f.replica()
	node, err := replica.authorizeNode(f.t.Context(), f.node)
	f.Expect(err).NotTo(HaveOccurred())
	return replica.grants.open(f.t.Context(), node, f.request)
}

func TestAGrantTakesThePlaceOfAReviewAndARead(t *testing.T) {
	f := newGranting(t)
	mounted := f.mount()
	for range 3 {
		replica := f.replica()
		for range 10 {
			authorization, err := replica.Authorize(t.Context(), f.node, f.request)
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(authorization.by).To(Equal(byGrant))
			f.Expect(replica.Grant(t.Context(), authorization, f.request)).To(BeEmpty(), "the former one stays")
			f.Expect(*authorization.claims).To(Equal(*mounted.claims))
			same := *authorization
			same.by, same.claims, same.Labels = mounted.by, mounted.claims, nil
			expected := *mounted
			expected.Labels = nil
			f.Expect(same).To(Equal(expected))
		}
	}
	reviews, reads := f.asked()
	f.Expect(reviews).To(BeZero())
	f.Expect(reads).To(BeEmpty())
	f.Expect(f.cluster.reviews.Load()).To(BeEquivalentTo(2+3), "of the node plugin's token in each replica, and the mount's")
}

func TestAGrantSaysNothingToWhoeverHasIt(t *testing.T) {
	f := newGranting(t)
	f.mount()
	for _, part := range []string{"shop", "one", "web", "node-a", "Connection"} {
		f.Expect(string(f.request.GetGrant())).NotTo(ContainSubstring(part))
	}
}

func TestALabelIsReadWhenItIsAskedFor(t *testing.T) {
	f := newGranting(t)
	f.mount()
	authorization, err := f.replica().Authorize(t.Context(), f.node, f.request)
	f.Expect(err).NotTo(HaveOccurred())
	for range 2 {
		_, err = authorization.Labels()
		f.Expect(err).NotTo(HaveOccurred())
	}
	_, reads := f.asked()
	f.Expect(reads).To(Equal([]string{"shop/one"}), "as they are, once")
}

func TestAGrantThatIsNotGoodLeadsToAFullAuthorization(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*granting)
		// refusal of the full authorization; empty: it succeeds.
		refusal string
	}{
		"none": {change: func(f *granting) { f.request.Grant = nil }},
		"the plugin of another node": {change: func(f *granting) { f.node = nodeToken("node-b") },
			refusal: "runs on node node-a, and node node-b asked"},
		"the plugin of a node that was made again": {change: func(f *granting) { f.cluster.nodeUID = "uid-b" },
			refusal: "runs on node node-a, and node node-a asked"},
		"the next pod of the node's plugin": {change: func(f *granting) { f.cluster.pluginUID = "q" }},
		"another pod's token": {change: func(f *granting) {
			f.request.PodToken = f.podToken("two", "uid of two", "web", "uid-web", f.clock.Now().Add(time.Hour))
		}},
		"a token of an earlier pod of the name": {change: func(f *granting) {
			f.request.PodToken = f.podToken("one", "earlier", "web", "uid-web", f.clock.Now().Add(time.Hour))
		}},
		"a token of another service account": {change: func(f *granting) {
			f.request.PodToken = f.podToken("one", "uid of one", "db", "uid-db", f.clock.Now().Add(time.Hour))
		}},
		"a token of a service account that was made again": {change: func(f *granting) {
			f.request.PodToken = f.podToken("one", "uid of one", "web", "another", f.clock.Now().Add(time.Hour))
		}},
		"a token that says the right things and is not signed": {change: func(f *granting) {
			f.request.PodToken = f.request.GetPodToken()[:strings.LastIndex(f.request.GetPodToken(), ".")+1] + "c2lnbmF0dXJl"
		}},
		"a token that somebody else signed": {change: func(f *granting) {
			former := f.signer
			f.signer = newSigner(f.t)
			f.request.PodToken = f.podToken("one", "uid of one", "web", "uid-web", f.clock.Now().Add(time.Hour))
			f.signer = former
		}},
		"keys that cannot be read": {change: func(f *granting) { f.signer.refuses.Store(true) }},
		"no pod's token":           {change: func(f *granting) { f.request.PodToken = "" }, refusal: "the pod's token is missing"},
		"a pod's token at its end": {change: func(f *granting) {
			f.request.PodToken = f.podToken("one", "uid of one", "web", "uid-web", f.clock.Now().Add(-time.Hour))
		}, refusal: "the pod's token is not valid"},
		"another volume": {change: func(f *granting) { f.request.VolumeId = kubeletVolumeID("uid of one", "other") },
			refusal: "has no volume"},
		"no volume, as an older node": {change: func(f *granting) { f.request.VolumeId = "" }},
		"another Connection": {change: func(f *granting) {
			f.request.VolumeAttributes = map[string]string{v1alpha1.AttributeConnection: "of shop/two"}
		}, refusal: "has no volume"},
		"an override": {change: func(f *granting) {
			f.request.VolumeAttributes = map[string]string{v1alpha1.AttributeConnection: "of shop/one", "value.host": "forged"}
		}, refusal: "has no volume"},
		"after its end":      {change: func(f *granting) { f.clock.SetTime(f.clock.Now().Add(10 * time.Minute)) }},
		"long before it was": {change: func(f *granting) { f.clock.SetTime(f.clock.Now().Add(-2 * time.Minute)) }},
		"a part of one":      {change: func(f *granting) { f.request.Grant = f.request.GetGrant()[:20] }},
		"a word":             {change: func(f *granting) { f.request.Grant = []byte{1} }},
		"another version":    {change: func(f *granting) { f.request.Grant[0]++ }},
		"another purpose": {change: func(f *granting) {
			leases := lease.NewManager(lease.Options{Secrets: f.secrets.CoreV1().Secrets("sallyport-system"), Clock: f.clock})
			node := &tokenClaims{nodeName: "node-a", nodeUID: "uid-a", podUID: "p"}
			bound := boundTo(node, f.request)
			plain, ok := leases.Cipher(grantPurpose).Decrypt(f.t.Context(), f.request.GetVolumeId(), f.request.GetGrant(), bound)
			f.Expect(ok).To(BeTrue())
			forged, err := leases.Cipher("other/v1").Encrypt(f.t.Context(), f.request.GetVolumeId(), plain, bound)
			f.Expect(err).NotTo(HaveOccurred())
			f.request.Grant = forged
		}},
		"keys that were made again": {change: func(f *granting) { f.secrets = fake.NewClientset() }},
		"a key that was taken away": {change: func(f *granting) {
			secrets := f.secrets.CoreV1().Secrets("sallyport-system")
			secret, err := secrets.Get(f.t.Context(), lease.KeySecretName, metav1.GetOptions{})
			f.Expect(err).NotTo(HaveOccurred())
			secret.Data["key-2"] = make([]byte, 32)
			delete(secret.Data, "key")
			_, err = secrets.Update(f.t.Context(), secret, metav1.UpdateOptions{})
			f.Expect(err).NotTo(HaveOccurred())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newGranting(t)
			f.mount()
			row.change(f)
			authorization, err := f.replica().Authorize(t.Context(), f.node, f.request)
			reviews, reads := f.asked()
			if row.refusal != "" {
				f.Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%v", err)
				f.Expect(err).To(MatchError(ContainSubstring(row.refusal)))
				return
			}
			f.Expect(err).NotTo(HaveOccurred())
			f.Expect(authorization.by).To(Equal(byPod))
			f.Expect(reviews).To(Equal(1))
			f.Expect(reads).NotTo(BeEmpty())
			f.Expect(authorization.Pod.String()).To(Equal("shop/one"), "whom the review said")
		})
	}
}

func TestNoByteOfAGrantCanBeChanged(t *testing.T) {
	f := newGranting(t)
	f.mount()
	f.Expect(f.open()).NotTo(BeNil())
	whole := f.request
	for i := range whole.GetGrant() {
		f.request = proto.CloneOf(whole)
		f.request.Grant[i] ^= 1
		f.Expect(f.open()).To(BeNil(), "byte %d", i)
	}
}

func TestAGrantEndsWithThePodsTokenAndAfterTenMinutes(t *testing.T) {
	for name, row := range map[string]struct{ token, grant time.Duration }{
		"a token of an hour":      {time.Hour, grantLife},
		"a token that ends first": {2 * time.Minute, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			f := newGranting(t)
			f.request.PodToken = f.podToken("one", "uid of one", "web", "uid-web", f.clock.Now().Add(row.token))
			f.mount()
			f.Expect(f.open().End).To(BeTemporally("~", f.clock.Now().Add(row.grant), time.Second))
		})
	}
	NewWithT(t).Expect(grantLife + acceptedTTL + apiServerTTL).To(BeNumerically("<=", 10*time.Minute))
}

func TestAGrantIsNoLongerGoodForARequestThatTookLong(t *testing.T) {
	for _, by := range []string{byPod, byReview} {
		f := newGranting(t)
		f.mount()
		if by == byReview {
			f.clock.SetTime(f.open().RenewAt)
		} else {
			f.request.Grant = nil
		}
		asked, replica := f.clock.Now(), f.replica()
		authorization, err := replica.Authorize(t.Context(), f.node, f.request)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(authorization.by).To(Equal(by))
		f.clock.SetTime(asked.Add(5 * time.Minute)) // a Vault that answers when it likes
		f.request.Grant = replica.Grant(t.Context(), authorization, f.request)
		f.Expect(f.open().End).To(BeTemporally("==", asked.Add(grantLife)), by)
		f.Expect(f.open().RenewAt).To(BeTemporally("<=", asked.Add(grantLife)), by)
		f.clock.SetTime(asked.Add(grantLife))
		f.Expect(replica.Grant(t.Context(), authorization, f.request)).To(BeEmpty(), "it is over before it begins")
	}
}

func TestRenewalsAreSpreadOverTheLifeOfAGrant(t *testing.T) {
	f := newGranting(t)
	f.mount()
	replica := f.replica()
	for by, from := range map[string]float64{byPod: firstRenewalFrom, byReview: renewalFrom} {
		var shares []float64
		for range 300 {
			f.request.Grant = nil
			authorization, err := replica.Authorize(t.Context(), f.node, f.request)
			f.Expect(err).NotTo(HaveOccurred())
			authorization.by = by
			f.request.Grant = replica.Grant(t.Context(), authorization, f.request)
			shares = append(shares, float64(f.open().RenewAt.Sub(f.clock.Now()))/float64(grantLife))
		}
		width := renewalTo - from
		f.Expect(slices.Min(shares)).To(And(BeNumerically(">=", from-0.001), BeNumerically("<", from+width/4)))
		f.Expect(slices.Max(shares)).To(And(BeNumerically("<=", renewalTo+0.001), BeNumerically(">", renewalTo-width/4)))
	}
}

func TestAGrantThatIsDueIsRenewedByAReview(t *testing.T) {
	due := func(t *testing.T) *granting {
		t.Helper()
		f := newGranting(t)
		f.mount()
		f.clock.SetTime(f.open().RenewAt)
		return f
	}
	t.Run("and the pod is not read", func(t *testing.T) {
		f := due(t)
		former := f.open().End
		replica := f.replica()
		authorization, err := replica.Authorize(t.Context(), f.node, f.request)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(authorization.by).To(Equal(byReview))
		reviews, reads := f.asked()
		f.Expect(reviews).To(Equal(1))
		f.Expect(reads).To(BeEmpty())
		f.request.Grant = replica.Grant(t.Context(), authorization, f.request)
		f.Expect(f.open().End).To(BeTemporally(">", former))
		authorization, err = f.replica().Authorize(t.Context(), f.node, f.request)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(authorization.by).To(Equal(byGrant))
	})
	t.Run("which refuses a pod that is gone", func(t *testing.T) {
		f := due(t)
		f.cluster.says = nil
		replica := f.replica()
		for range 10 {
			_, err := replica.Authorize(t.Context(), f.node, f.request)
			f.Expect(fault.Is(err, v1alpha1.ReasonNotAllowed)).To(BeTrue(), "%v", err)
		}
		reviews, _ := f.asked()
		f.Expect(reviews).To(Equal(1), "a refusal is remembered")
	})
	t.Run("and in full if the review says something else", func(t *testing.T) {
		f := due(t)
		other := *f.cluster.says
		other.serviceAccountUID = "another"
		f.cluster.says = &other
		authorization, err := f.replica().Authorize(t.Context(), f.node, f.request)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(authorization.by).To(Equal(byPod))
	})
	t.Run("or stands until its end, if the API server does not answer", func(t *testing.T) {
		f := due(t)
		f.cluster.down = true
		end := f.open().End
		replica := f.replica()
		authorization, err := replica.Authorize(t.Context(), f.node, f.request)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(authorization.by).To(Equal(byGrant))
		f.Expect(replica.Grant(t.Context(), authorization, f.request)).To(BeEmpty())
		f.clock.SetTime(end)
		_, err = f.replica().Authorize(t.Context(), f.node, f.request)
		f.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue(), "%v", err)
	})
}

func TestWithoutKeysThereIsNoGrantAndEveryRequestIsServed(t *testing.T) {
	f := newGranting(t)
	clients, gets := fake.NewClientset(), 0
	clients.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		gets++
		return true, nil, errors.New("the API server is down")
	})
	f.secrets = clients
	replica := f.replica()
	for range 50 {
		authorization, err := replica.Authorize(t.Context(), f.node, f.request)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(replica.Grant(t.Context(), authorization, f.request)).To(BeEmpty())
	}
	f.Expect(gets).To(Equal(1), "the keys are asked for again after a pause")
}
