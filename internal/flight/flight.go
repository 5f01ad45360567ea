// Package flight has concurrent callers share one run of the same work.
package flight

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"

	"sallyport.dev/sallyport/internal/fault"
)

// Group is a singleflight.Group whose flights belong to none of their callers: they go on when the one that began them
// gives up, for others may wait, and end after a time of their own. A panic is the error of one flight, where
// singleflight ends the process. The zero value is ready for use.
type Group[T any] struct{ flights singleflight.Group }

// Join runs the work of that name, for a time at most, or waits for a run that is under way. It waits as long as the
// caller's ctx lets it: then landed is false, and the error is that of ctx.
func (g *Group[T]) Join(
	ctx context.Context, name string, atMost time.Duration, run func(context.Context) (T, error),
) (value T, landed bool, err error) {
	result := g.flights.DoChan(name, func() (any, error) {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), atMost)
		defer cancel()
		var found T
		err := fault.Guard(detached, func() (err error) {
			found, err = run(detached)
			return err
		})
		return found, err
	})
	select {
	case <-ctx.Done():
		return value, false, ctx.Err()
	case shared := <-result:
		value, _ = shared.Val.(T)
		return value, true, shared.Err
	}
}
