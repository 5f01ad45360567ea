package breaker

import (
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
)

func TestOnlySilenceOpens(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(*Breaker)
		open    bool
	}{
		"nothing":                            {func(*Breaker) {}, false},
		"a look without a connection":        {func(b *Breaker) { b.Look().TimedOut(false) }, true},
		"a look without an answer":           {func(b *Breaker) { b.Look().TimedOut(true) }, true},
		"a look that failed at once":         {func(b *Breaker) { b.Look().Answered() }, false},
		"an answer before a look":            {func(b *Breaker) { b.Answered(); b.Look().TimedOut(true) }, true},
		"a lost packet, while others get on": {func(b *Breaker) { l := b.Look(); b.Answered(); l.TimedOut(false) }, false},
		"a front end that drops sys/health": {func(b *Breaker) {
			l := b.Look()
			b.Answered()
			l.TimedOut(true)
			b.Look().TimedOut(true)
		}, false},
		"the same, seen only later": {func(b *Breaker) {
			b.Look().TimedOut(true)
			b.Answered()
			b.Look().TimedOut(true)
		}, false},
		"the same, and then no connection": {func(b *Breaker) {
			b.Look().TimedOut(true)
			b.Answered()
			b.Look().TimedOut(false)
		}, true},
		"one that does so no longer": {func(b *Breaker) {
			b.Look().TimedOut(true)
			b.Answered()
			b.Look().Answered()
			b.Look().TimedOut(true)
		}, true},
		"an answer to a look":    {func(b *Breaker) { b.Look().TimedOut(true); b.Look().Answered() }, false},
		"an answer to a request": {func(b *Breaker) { b.Look().TimedOut(true); b.Answered() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(clock.RealClock{})
			test.happens(b)
			NewWithT(t).Expect(b.Open()).To(Equal(test.open))
		})
	}
}

func TestOneRequestAtATimeFindsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		b := New(clock.RealClock{})
		begun := time.Now()
		look := b.Look()
		time.Sleep(5 * time.Second)
		look.TimedOut(true)
		for range 3 {
			turns := 0
			for range 100 {
				since, turn := b.Ask(true)
				g.Expect(since).To(Equal(begun), "it says since when")
				if turn {
					turns++
				}
			}
			g.Expect(turns).To(Equal(1))
			time.Sleep(TryEvery)
			b.Look().TimedOut(true)
		}
		b.Answered()
		since, turn := b.Ask(true)
		g.Expect(since.IsZero()).To(BeTrue())
		g.Expect(turn).To(BeFalse())
	})
}
