package schedule

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
)

func TestAnOwnerThatHangsHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := NewShares(8, 2)
		for range 100 {
			go func() {
				if release, err := s.Acquire(t.Context(), "hangs", First); err == nil {
					time.Sleep(time.Hour)
					release()
				}
			}()
		}
		synctest.Wait()
		g.Expect(s.busy).To(Equal(2))
		for i := range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			release, err := s.Acquire(ctx, fmt.Sprintf("other-%d", i%3), Last)
			g.Expect(err).NotTo(HaveOccurred())
			release()
			cancel()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.Acquire(ctx, "hangs", First)
		g.Expect(err).To(MatchError(context.DeadlineExceeded))
		time.Sleep(200 * time.Hour)
		synctest.Wait()
		g.Expect(s.busy).To(BeZero())
		g.Expect(s.owners).To(BeEmpty())
		g.Expect(s.waiting).To(BeEmpty())
	})
}

func TestWhatWaitsGoesOnByRankAndThenByOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := NewShares(1, 1)
		first, err := s.Acquire(t.Context(), "x", First)
		g.Expect(err).NotTo(HaveOccurred())
		var order []string
		for _, w := range []struct {
			owner string
			rank  int
		}{{"failed", Last}, {"a", Second}, {"b", Second}, {"leases", First}} {
			go func() {
				release, err := s.Acquire(t.Context(), w.owner, w.rank)
				g.Expect(err).NotTo(HaveOccurred())
				order = append(order, w.owner)
				release()
			}()
			synctest.Wait()
		}
		first()
		synctest.Wait()
		g.Expect(order).To(Equal([]string{"leases", "a", "b", "failed"}))
	})
}
