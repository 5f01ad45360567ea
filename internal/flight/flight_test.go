package flight_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/flight"
)

func TestAFlightGoesOnWithoutTheOneThatBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var group flight.Group[int]
		var runs atomic.Int32
		work := func(ctx context.Context) (int, error) {
			runs.Add(1)
			select {
			case <-time.After(2 * time.Second):
				return 7, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		first, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		go func() {
			_, landed, err := group.Join(first, "a", 5*time.Second, work)
			g.Expect(landed).To(BeFalse())
			g.Expect(err).To(MatchError(context.DeadlineExceeded))
		}()
		time.Sleep(time.Millisecond)
		value, landed, err := group.Join(t.Context(), "a", 5*time.Second, work)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(landed).To(BeTrue())
		g.Expect(value).To(Equal(7))
		g.Expect(runs.Load()).To(BeEquivalentTo(1))

		_, landed, err = group.Join(t.Context(), "a", time.Second, work)
		g.Expect(landed).To(BeTrue())
		g.Expect(err).To(MatchError(context.DeadlineExceeded), "a flight has a time of its own")
	})
}

func TestAPanicIsTheErrorOfOneFlight(t *testing.T) {
	g := NewWithT(t)
	var group flight.Group[*int]
	value, landed, err := group.Join(t.Context(), "a", time.Second, func(context.Context) (*int, error) { panic("canary-value-QX7") })
	g.Expect(value).To(BeNil())
	g.Expect(landed).To(BeTrue())
	g.Expect(fault.Is(err, v1alpha1.ReasonInternal)).To(BeTrue())
	g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
}
