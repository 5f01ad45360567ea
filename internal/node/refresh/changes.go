package refresh

import (
	"context"
	"time"

	"sallyport.dev/sallyport/internal/node/schedule"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	// changesPause is the pause after each response, in which more changes may gather.
	changesPause = 100 * time.Millisecond
	// changesRetry is the pause after a failure. Nothing but time is lost by it: every volume is refreshed in its turn.
	// So it does not grow, and no back-off of a library is needed.
	changesRetry = 5 * time.Second
)

// watchChanges waits for changes and refreshes the volumes that they concern, until ctx ends.
func (r *Refresher) watchChanges(ctx context.Context) {
	if r.Changes == nil {
		return
	}
	cursor := ""
	for ctx.Err() == nil {
		response, err := r.Changes.Changes(ctx, &resolverv1.ChangesRequest{After: cursor})
		pause := changesPause
		if err != nil {
			pause = schedule.Jitter(changesRetry)
		} else {
			cursor = response.GetCursor()
			r.refreshChanged(response.GetChangeKeys())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// refreshChanged has the volumes with one of the change keys refreshed now.
func (r *Refresher) refreshChanged(keys []string) {
	if len(keys) == 0 {
		return
	}
	for _, v := range r.Volumes.All() {
		if v.MarkChanged(keys) {
			r.schedule(v, 0)
		}
	}
}
