package server

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/peer"
	"k8s.io/apimachinery/pkg/util/cache"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// How many reviews callers may cause whose token was not accepted lately. A node plugin needs one for each token of an
// hour; after a roll-out all nodes come at once.
const (
	unknownPerSource, unknownSourceBurst = 1, 10
	unknownInAll, unknownInAllBurst      = 100, 300
	// nodeReviews and nodeReviewsBurst are for the tokens of pods that a node plugin brings, which it could invent, too:
	// one in acceptedTTL for each pod of the node.
	nodeReviews, nodeReviewsBurst = 100, 500
	// maxSources bounds the memory for it, sourceMemory is how long a source is remembered: its limit is full again by
	// then.
	maxSources, sourceMemory = 8192, 10 * time.Minute
)

// reviewLimits share out TokenReviews.
type reviewLimits struct {
	inAll *rate.Limiter

	mu      sync.Mutex // from the look into a cache to the entry
	sources *cache.LRUExpireCache
	nodes   *cache.LRUExpireCache
}

func newReviewLimits() *reviewLimits {
	return &reviewLimits{
		inAll:   rate.NewLimiter(unknownInAll, unknownInAllBurst),
		sources: cache.NewLRUExpireCache(maxSources), nodes: cache.NewLRUExpireCache(maxSources),
	}
}

// unknown takes a review from the shares of a caller whose token was not accepted lately.
func (l *reviewLimits) unknown(ctx context.Context) error {
	source := l.of(l.sources, sourceOf(ctx), unknownPerSource, unknownSourceBurst)
	if !source.Allow() || !l.inAll.Allow() {
		return fault.Transient(v1alpha1.ReasonInternal, "more callers that are not known want to be than are looked at now")
	}
	return nil
}

// accepted gives a source its share back: several nodes may come from one address.
func (l *reviewLimits) accepted(ctx context.Context) { l.sources.Remove(sourceOf(ctx)) }

// node waits for a review from the share of a node.
func (l *reviewLimits) node(ctx context.Context, name string) error {
	if err := l.of(l.nodes, name, nodeReviews, nodeReviewsBurst).Wait(ctx); err != nil {
		return fault.Transient(v1alpha1.ReasonInternal, "node %s shows more tokens than are looked at now", name)
	}
	return nil
}

func (l *reviewLimits) of(known *cache.LRUExpireCache, name string, perSecond rate.Limit, burst int) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, _ := known.Get(name)
	limiter, ok := found.(*rate.Limiter)
	if !ok {
		limiter = rate.NewLimiter(perSecond, burst)
	}
	known.Add(name, limiter, sourceMemory)
	return limiter
}

// sourceOf is the address that a request comes from, without the port.
func sourceOf(ctx context.Context) string {
	from, ok := peer.FromContext(ctx)
	if !ok || from.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(from.Addr.String())
	if err != nil {
		return from.Addr.String()
	}
	return host
}
