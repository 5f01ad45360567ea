package resolver

import (
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/vault/secrets"
)

func newTestEngine() *Engine { return NewEngine(nil, nil, clock.RealClock{}) }

// readNow does what a read of the secret at path does with its result, and returns the read's name.
func readNow(e *Engine, path string) string {
	read := e.reader.versions.BeginRead("shop", "config "+path, path)
	e.reader.burst.Put(read, path, readResult{secret: &secrets.Secret{Version: 1}}, e.reader.clock.Now())
	return read
}

func shared(e *Engine, read string) bool {
	_, ok := e.reader.burst.Get(read)
	return ok
}

// burst begins one. It ends with done.
func burst(e *Engine) (done func()) {
	first, second := e.Begin(), e.Begin()
	first()
	return second
}

func TestAReadIsSharedInABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		first, second := e.Begin(), e.Begin()
		read := readNow(e, "secret/data/a")
		g.Expect(shared(e, read)).To(BeTrue())
		g.Expect(shared(e, e.reader.versions.BeginRead("shop", "config secret/data/a", "secret/data/a"))).To(BeTrue(), "it is the same read for who comes later")
		g.Expect(shared(e, e.reader.versions.BeginRead("shop", "other secret/data/a", "secret/data/a"))).To(BeFalse(), "what one token may read is not for another")
		first()
		second()
		time.Sleep(burstPause - time.Millisecond)
		third := e.Begin()
		g.Expect(shared(e, read)).To(BeTrue())
		time.Sleep(burstPause)
		synctest.Wait()
		g.Expect(shared(e, read)).To(BeTrue(), "a burst goes on while a volume is served")
		third()
		time.Sleep(burstPause)
		synctest.Wait()
		g.Expect(e.reader.burst.byRead).To(BeEmpty(), "the burst has ended")
		defer e.Begin()()
		readNow(e, "secret/data/a")
		g.Expect(e.reader.burst.byRead).To(BeEmpty(), "and another one has not begun")
	})
}

func TestVolumesThatAreServedOneAfterTheOtherShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		readNow(e, "secret/data/a")
		g.Expect(e.reader.burst.byRead).To(BeEmpty(), "nobody is being served: a controller read it")
		for range 3 {
			done := e.Begin()
			readNow(e, "secret/data/a")
			g.Expect(e.reader.burst.byRead).To(BeEmpty())
			done()
		}
	})
}

func TestAReadGetsNoOlderThanPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		defer burst(e)()
		began := e.reader.clock.Now()
		read := e.reader.versions.BeginRead("shop", "k", "secret/data/a")
		time.Sleep(time.Second) // the read itself
		e.reader.burst.Put(read, "secret/data/a", readResult{secret: &secrets.Secret{Version: 1}}, began)
		time.Sleep(burstTTL - time.Second - time.Millisecond)
		g.Expect(shared(e, read)).To(BeTrue())
		time.Sleep(time.Millisecond)
		g.Expect(shared(e, read)).To(BeFalse(), "counted from when the read began")
		synctest.Wait()
		g.Expect(e.reader.burst.byRead).To(BeEmpty(), "and not in memory any more, although a volume is being served all the time")

		e.reader.burst.Put(read, "secret/data/a", readResult{secret: &secrets.Secret{Version: 1}}, began)
		g.Expect(e.reader.burst.byRead).To(BeEmpty(), "a read that took so long is not shared at all")
	})
}

func TestALaterReadTakesThePlaceOfAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		defer burst(e)()
		readNow(e, "secret/data/a")
		time.Sleep(burstTTL - time.Millisecond)
		read := readNow(e, "secret/data/a")
		time.Sleep(burstTTL - time.Millisecond)
		synctest.Wait()
		g.Expect(shared(e, read)).To(BeTrue(), "the end of the earlier one is not that of the later")
	})
}

func TestAChangeEndsTheSharing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		defer burst(e)()
		before, other := readNow(e, "secret/data/a"), readNow(e, "secret/data/b")
		underWay := e.reader.versions.BeginRead("shop", "config secret/data/a", "secret/data/a")
		e.Changed("secret/data/a")
		g.Expect(shared(e, before)).To(BeFalse())
		g.Expect(shared(e, other)).To(BeTrue())
		after := e.reader.versions.BeginRead("shop", "config secret/data/a", "secret/data/a")
		g.Expect(after).NotTo(Equal(underWay), "nobody joins a read that may have come too early")
		e.reader.burst.Put(underWay, "secret/data/a", readResult{secret: &secrets.Secret{Version: 1}}, e.reader.clock.Now())
		g.Expect(shared(e, after)).To(BeFalse())
	})
}

func TestAChangeIsNoticedBeforeTheFirstReadHasEnded(t *testing.T) {
	g := NewWithT(t)
	c, clk := newTestVersionCache()
	c.BeginRead("shop", "s", "secret/data/s")
	started := clk.Now()
	clk.SetTime(clk.Now().Add(time.Millisecond))
	c.Invalidate("secret/data/s")
	c.Record("s", &secrets.Secret{Version: 1}, ab, started)
	_, fresh, _ := c.Get("s", ab, interval, false)
	g.Expect(fresh).To(BeFalse(), "the read may have come too early, so its version does not count")
}
