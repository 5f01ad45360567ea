package refresh

import (
	"context"
	"sync"
)

// Run refreshes what is due and what has changed, until ctx ends.
func (r *Refresher) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { r.due.Run(ctx, r.work) })
	running.Go(func() { r.watchChanges(ctx) })
	running.Wait()
}
