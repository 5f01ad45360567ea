package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
)

// timing is how long something took that was done many times.
type timing struct {
	// elapsed is the time for all of it, and took the times of each, in no order.
	elapsed time.Duration
	took    []time.Duration
}

// timed does something for every number, some at a time.
func timed(t *testing.T, number, concurrency int, do func(ctx context.Context, i int) error) timing {
	t.Helper()
	took := make([]time.Duration, number)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(concurrency)
	started := time.Now()
	for i := range number {
		group.Go(func() error {
			begun := time.Now()
			err := do(ctx, i)
			took[i] = time.Since(begun)
			return err
		})
	}
	NewWithT(t).Expect(group.Wait()).To(Succeed())
	return timing{elapsed: time.Since(started), took: took}
}

// rate is how many a second, 0 of none.
func (m timing) rate() float64 {
	if len(m.took) == 0 {
		return 0
	}
	return float64(len(m.took)) / m.elapsed.Seconds()
}

// percentile is the time in milliseconds that a share of all stayed below.
func (m timing) percentile(share float64) float64 {
	sorted := slices.Sorted(slices.Values(m.took))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)].Seconds() * 1000
}

// plus puts two runs together.
func (m timing) plus(other timing) timing {
	return timing{elapsed: m.elapsed + other.elapsed, took: append(slices.Clone(m.took), other.took...)}
}
