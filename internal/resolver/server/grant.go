package server

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/lease"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// grantPurpose names the keys of grants.
	grantPurpose = "grant/v1"
	// apiServerTTL is how long the API server itself answers a TokenReview by what it found for the one before
	// (TokenSuccessCacheTTL in kubernetes/pkg/kubeapiserver/options).
	apiServerTTL = 10 * time.Second
	// grantLife is how long a grant is good at most, from when the request came that it follows from. With acceptedTTL,
	// which is how old the review may be by then, and apiServerTTL, that makes ten minutes in which nobody asks whether
	// the pod is still there.
	grantLife = 10*time.Minute - acceptedTTL - apiServerTTL
	// A grant is renewed at a random moment between these shares of its life: late enough that reviews are few, early
	// enough that a volume that is refreshed every minute comes by before the end. The first of a volume may be renewed
	// much sooner, so that volumes that were mounted together are spread evenly from then on.
	firstRenewalFrom, renewalFrom, renewalTo = 0.1, 0.85, 0.9
)

// Grants are what nodes show at refreshes in place of a review of the pod's token and a read of the pod. Only replicas
// can make or read one. It is good for one volume with its attributes, asked for by one pod of the node plugin with a
// token that names one pod and service account.
type Grants struct {
	cipher *lease.Cipher
	clock  clock.PassiveClock
}

// NewGrants returns grants that all replicas share, with keys of the manager's.
func NewGrants(leases *lease.Manager, clk clock.PassiveClock) *Grants {
	return &Grants{cipher: leases.Cipher(grantPurpose), clock: clk}
}

// grant is what was found out when a request was authorised in full, apart from what it is bound to: grantBinding.
type grant struct {
	Namespace         string `json:"namespace"`
	ServiceAccount    string `json:"serviceAccount"`
	ServiceAccountUID string `json:"serviceAccountUID"`
	Pod               string `json:"pod"`
	PodUID            string `json:"podUID"`
	// Owner is that of Authorization. As everything else that a grant says of a pod's spec it never changes.
	Owner *int64 `json:"owner,omitempty"`
	// Issued is when the request came, RenewAt when the pod's token is to be reviewed again, and from End on the grant is
	// nothing.
	Issued  time.Time `json:"issued"`
	RenewAt time.Time `json:"renewAt"`
	End     time.Time `json:"end"`
}

// grantBinding is what a request must have in common with the one that a grant was made for. The volume's ID is in the
// key. Plugin is the UID of the node plugin's pod: whoever deletes that pod ends the grants that it had, also where the
// next one comes to a node that is stolen.
type grantBinding struct {
	Node       string            `json:"node"`
	NodeUID    string            `json:"nodeUID"`
	Plugin     string            `json:"plugin"`
	Attributes map[string]string `json:"attributes"`
}

func boundTo(node *tokenClaims, request *resolverv1.ResolveRequest) []byte {
	bound, _ := json.Marshal(grantBinding{ // of texts, it does not fail, and the keys of a map are sorted
		Node: node.nodeName, NodeUID: node.nodeUID, Plugin: node.podUID, Attributes: request.GetVolumeAttributes(),
	})
	return bound
}

// open returns the grant of a request that a node makes; nil: it has none that is good, whatever the reason.
func (g *Grants) open(ctx context.Context, node *tokenClaims, request *resolverv1.ResolveRequest) *grant {
	if len(request.GetGrant()) == 0 || request.GetVolumeId() == "" {
		return nil
	}
	plain, ok := g.cipher.Decrypt(ctx, request.GetVolumeId(), request.GetGrant(), boundTo(node, request))
	if !ok {
		return nil
	}
	shown, now := &grant{}, g.clock.Now()
	if json.Unmarshal(plain, shown) != nil {
		return nil
	}
	// One from a replica whose clock is far ahead has to wait, and is good for that much longer then: until the end of the
	// pod's token, which is the API server's, at most.
	if now.Before(shown.Issued.Add(-tokenClockSkew)) || !now.Before(shown.End) {
		return nil
	}
	return shown
}

// claims are those of the reviewed token that the grant follows from. The node is the one that it is bound to.
func (g *grant) claims(node *tokenClaims) *tokenClaims {
	return &tokenClaims{
		namespace: g.Namespace, serviceAccount: g.ServiceAccount, serviceAccountUID: g.ServiceAccountUID,
		podName: g.Pod, podUID: g.PodUID, nodeName: node.nodeName, nodeUID: node.nodeUID,
	}
}

// issue returns a grant that follows from the review of the pod's token of this request; nil if there is none to be
// had, for the node does without. Its life began when the request came, however long it took to serve. Errors are those
// of the keys.
func (g *Grants) issue(
	ctx context.Context, of *Authorization, request *resolverv1.ResolveRequest,
) ([]byte, error) {
	token, ok := parseUnreviewed(request.GetPodToken()) // the review said that this is the API server's
	life := min(grantLife, time.Unix(int64(token.Expires), 0).Sub(of.asked))
	end := of.asked.Add(life)
	if !ok || request.GetVolumeId() == "" || !g.clock.Now().Before(end) {
		return nil, nil
	}
	from := renewalFrom
	if of.by == byPod { // the volume had none that was good
		from = firstRenewalFrom
	}
	share := from + (renewalTo-from)*rand.Float64() //nolint:gosec // it spreads load and guards nothing
	claims := of.claims
	plain, err := json.Marshal(&grant{
		Namespace: claims.namespace, ServiceAccount: claims.serviceAccount, ServiceAccountUID: claims.serviceAccountUID,
		Pod: claims.podName, PodUID: claims.podUID, Owner: of.Owner,
		Issued: of.asked, RenewAt: of.asked.Add(time.Duration(share * float64(life))), End: end,
	})
	if err != nil {
		return nil, err
	}
	return g.cipher.Encrypt(ctx, request.GetVolumeId(), plain, boundTo(of.node, request))
}

// due tells whether the pod's token is to be reviewed again.
func (g *Grants) due(shown *grant) bool { return !g.clock.Now().Before(shown.RenewAt) }
