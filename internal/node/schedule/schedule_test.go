package schedule

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
)

func TestAPanicAtOneNameIsThatNamesFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithCancel(t.Context())
		q := New(clock.RealClock{}, time.Second, time.Minute)
		var bad, good atomic.Int32
		q.AddAfter("bad", 0)
		q.AddAfter("good", 0)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			q.Run(ctx, func(name string) (Work, bool) {
				return Work{Owner: "shop", Rank: First, Do: func(context.Context) {
					if name == "good" {
						good.Add(1)
						return
					}
					if bad.Add(1) == 1 {
						panic("of this one")
					}
				}}, true
			})
		}()
		time.Sleep(time.Minute)
		g.Expect(good.Load()).To(BeEquivalentTo(1))
		g.Expect(bad.Load()).To(BeEquivalentTo(2), "it is tried again")
		cancel()
		<-stopped
	})
}
