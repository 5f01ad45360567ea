package refresh

import (
	"context"
	"math/rand/v2"
	"time"

	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/schedule"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// The resolver says when to ask again; these bound it against nonsense.
	delayMin     = time.Second
	delayMax     = 24 * time.Hour
	delayDefault = time.Minute

	backoffMin = 5 * time.Second
	backoffMax = 20 * time.Second

	// firstTokenWithin spreads the requests of all volumes that get their first token after a restart of the plugin.
	firstTokenWithin = 5 * time.Second
)

// Resolver turns what the kubelet said of a volume into files. Its errors are faults.
type Resolver interface {
	// ResolveTogether may send the request with those for other volumes that are due at the same moment. No answer waits
	// for another.
	ResolveTogether(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error)
}

// Changes tells of secrets that Sallyport itself has changed. It answers when there are some, or after a while without.
type Changes interface {
	Changes(ctx context.Context, request *resolverv1.ChangesRequest) (*resolverv1.ChangesResponse, error)
}

// Config is what a Refresher works with. Changes may be nil.
type Config struct {
	Volumes     *volume.Table
	Locks       *volume.Locks
	Store       *volume.Store
	Revocations *revocation.Queue
	Resolver    Resolver
	Changes     Changes
	// Answers bound what is in memory of the resolver's.
	Answers *resolverv1.Answers
	Clock   clock.WithTicker
	// Offset delays each refresh that the resolver gave a moment for.
	Offset time.Duration
	// Observe gets the outcome of each refresh.
	Observe func(err error)
}

// Refresher refreshes each volume at its time.
type Refresher struct {
	Config
	due *schedule.Queue // of IDs of volumes
}

// New returns a refresher that has nothing to do yet.
func New(config Config) *Refresher {
	return &Refresher{Config: config, due: schedule.New(config.Clock, backoffMin, backoffMax)}
}

// Next schedules the volume's refresh as the response says, and this node's offset later.
func (r *Refresher) Next(v *volume.Volume, response *resolverv1.ResolveResponse) {
	r.schedule(v, delay(response)+r.Offset)
}

// SetToken takes a new token; a volume that waited for one is refreshed soon.
func (r *Refresher) SetToken(v *volume.Volume, token volume.PodToken) {
	if v.SetToken(token) && token.Usable(r.Clock.Now()) {
		r.schedule(v, rand.N(firstTokenWithin))
	}
}

// Forget drops what is known of a volume that is gone.
func (r *Refresher) Forget(id string) { r.due.Forget(id) }

// schedule sets the time of the volume's next refresh.
func (r *Refresher) schedule(v *volume.Volume, after time.Duration) {
	r.due.AddAfter(v.ID, v.SetDue(r.Clock.Now(), after))
}

// delay is when to ask again after this response. Nothing random is added to that of one volume: the resolver gives
// volumes with the same secrets the same moment, so that one read in Vault serves them all, and one call all those of a
// node.
func delay(response *resolverv1.ResolveResponse) time.Duration {
	milliseconds := response.GetRefreshAfterMs()
	switch {
	case milliseconds <= 0:
		return delayDefault
	case milliseconds >= delayMax.Milliseconds():
		return delayMax
	default:
		return max(time.Duration(milliseconds)*time.Millisecond, delayMin)
	}
}
