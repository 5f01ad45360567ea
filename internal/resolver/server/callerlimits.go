package server

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/peer"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/shares"
)

// How many reviews callers may cause whose token was not accepted lately. A node plugin needs one for each token of an
// hour; after a roll-out all nodes come at once.
const (
	unknownPerSource, unknownSourceBurst = 1, 10
	unknownInAll, unknownInAllBurst      = 100, 300
	// nodeReviews and nodeReviewsBurst are for the tokens of pods that a node plugin brings, which it could invent, too:
	// one in acceptedTTL for each pod of the node.
	nodeReviews, nodeReviewsBurst = 100, 500
	// refusalsPerNode, a second, and refusalsBurst are how often a node may be refused what is not its own before
	// each answer takes refusalTime. A sound node plugin is, where a pod goes while it is mounted; each costs the API
	// server a review or a read, and no attempt gets nearer to anything.
	refusalsPerNode, refusalsBurst = 10, 100
	refusalTime                    = time.Second
	// maxSources bounds the memory for it.
	maxSources = 8192
)

// callerLimits share out what callers cost the API server.
type callerLimits struct {
	inAll                    *rate.Limiter
	sources, nodes, refusals *shares.Limiters
}

func newCallerLimits() *callerLimits {
	return &callerLimits{
		inAll:    rate.NewLimiter(unknownInAll, unknownInAllBurst),
		sources:  shares.NewLimiters(unknownPerSource, unknownSourceBurst, maxSources),
		nodes:    shares.NewLimiters(nodeReviews, nodeReviewsBurst, maxSources),
		refusals: shares.NewLimiters(refusalsPerNode, refusalsBurst, maxSources),
	}
}

// unknown takes a review from the shares of a caller whose token was not accepted lately.
func (l *callerLimits) unknown(ctx context.Context) error {
	if !l.sources.Of(sourceOf(ctx)).Allow() || !l.inAll.Allow() {
		return fault.Transient(v1alpha1.ReasonInternal, "more callers that are not known want to be than are looked at now")
	}
	return nil
}

// accepted gives a source its share back: several nodes may come from one address.
func (l *callerLimits) accepted(ctx context.Context) { l.sources.Refill(sourceOf(ctx)) }

// node waits for a review from the share of a node.
func (l *callerLimits) node(ctx context.Context, name string) error {
	if err := l.nodes.Of(name).Wait(ctx); err != nil {
		return fault.Transient(v1alpha1.ReasonInternal, "node %s shows more tokens than are looked at now", name)
	}
	return nil
}

// refused counts a refusal of what a node asked for that is not its own, and takes its time if there were more than a
// share of them. The caller has one of the node's turns meanwhile, and so what a stolen node invents costs the others
// little.
func (l *callerLimits) refused(ctx context.Context, name string) {
	if l.refusals.Of(name).Allow() {
		return
	}
	timer := time.NewTimer(refusalTime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// sourceOf is the address that a request comes from, without the port.
func sourceOf(ctx context.Context) string {
	from, ok := peer.FromContext(ctx)
	if !ok || from.Addr == nil {
		return ""
	}
	return hostOf(from.Addr)
}
