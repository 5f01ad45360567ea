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

// readNow does what a read of the secret at path does with its answer, and returns the read's name.
func readNow(e *Engine, path string) string {
	read := e.rounds.begin("config "+path, path)
	e.answers.keep(read, path, answer{secret: &secrets.Secret{Version: 1}}, e.clock.Now())
	return read
}

func recalled(e *Engine, read string) bool {
	_, ok := e.answers.recall(read)
	return ok
}

// burst begins one. It ends with done.
func burst(e *Engine) (done func()) {
	first, second := e.answers.serve(), e.answers.serve()
	first()
	return second
}

func TestAnAnswerIsSharedInABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		first, second := e.answers.serve(), e.answers.serve()
		read := readNow(e, "secret/data/a")
		g.Expect(recalled(e, read)).To(BeTrue())
		g.Expect(recalled(e, e.rounds.begin("config secret/data/a", "secret/data/a"))).To(BeTrue(), "it is the same read for who comes later")
		g.Expect(recalled(e, e.rounds.begin("other secret/data/a", "secret/data/a"))).To(BeFalse(), "what one identity may read is no answer for another")
		first()
		second()
		time.Sleep(burstPause - time.Millisecond)
		third := e.answers.serve()
		g.Expect(recalled(e, read)).To(BeTrue())
		time.Sleep(burstPause)
		synctest.Wait()
		g.Expect(recalled(e, read)).To(BeTrue(), "a burst goes on while a volume is served")
		third()
		time.Sleep(burstPause)
		synctest.Wait()
		g.Expect(e.answers.byRead).To(BeEmpty(), "the burst has ended")
		defer e.answers.serve()()
		readNow(e, "secret/data/a")
		g.Expect(e.answers.byRead).To(BeEmpty(), "and another one has not begun")
	})
}

func TestVolumesThatAreServedOneAfterTheOtherShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		readNow(e, "secret/data/a")
		g.Expect(e.answers.byRead).To(BeEmpty(), "nobody is being served: a controller read it")
		for range 3 {
			done := e.answers.serve()
			readNow(e, "secret/data/a")
			g.Expect(e.answers.byRead).To(BeEmpty())
			done()
		}
	})
}

func TestAnAnswerGetsNoOlderThanPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		defer burst(e)()
		began := e.clock.Now()
		read := e.rounds.begin("k", "secret/data/a")
		time.Sleep(time.Second) // the read itself
		e.answers.keep(read, "secret/data/a", answer{secret: &secrets.Secret{Version: 1}}, began)
		time.Sleep(sharedFor - time.Second - time.Millisecond)
		g.Expect(recalled(e, read)).To(BeTrue())
		time.Sleep(time.Millisecond)
		g.Expect(recalled(e, read)).To(BeFalse(), "counted from when the read began")
		synctest.Wait()
		g.Expect(e.answers.byRead).To(BeEmpty(), "and not in memory any more, although a volume is being served all the time")

		e.answers.keep(read, "secret/data/a", answer{secret: &secrets.Secret{Version: 1}}, began)
		g.Expect(e.answers.byRead).To(BeEmpty(), "an answer that took so long is not shared at all")
	})
}

func TestALaterAnswerTakesThePlaceOfAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		defer burst(e)()
		readNow(e, "secret/data/a")
		time.Sleep(sharedFor - time.Millisecond)
		read := readNow(e, "secret/data/a")
		time.Sleep(sharedFor - time.Millisecond)
		synctest.Wait()
		g.Expect(recalled(e, read)).To(BeTrue(), "the end of the earlier one is not that of the later")
	})
}

func TestAChangeEndsTheSharing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		e := newTestEngine()
		defer burst(e)()
		before, other := readNow(e, "secret/data/a"), readNow(e, "secret/data/b")
		underWay := e.rounds.begin("config secret/data/a", "secret/data/a")
		e.Changed("secret/data/a")
		g.Expect(recalled(e, before)).To(BeFalse())
		g.Expect(recalled(e, other)).To(BeTrue())
		after := e.rounds.begin("config secret/data/a", "secret/data/a")
		g.Expect(after).NotTo(Equal(underWay), "nobody joins a read that may have come too early")
		e.answers.keep(underWay, "secret/data/a", answer{secret: &secrets.Secret{Version: 1}}, e.clock.Now())
		g.Expect(recalled(e, after)).To(BeFalse())
	})
}

func TestAChangeIsNoticedBeforeTheFirstReadHasEnded(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	r.begin("s", "secret/data/s")
	started := clk.Now()
	clk.SetTime(clk.Now().Add(time.Millisecond))
	r.changed("secret/data/s")
	r.seen("s", &secrets.Secret{Version: 1}, started)
	_, fresh, _ := r.recall("s", interval)
	g.Expect(fresh).To(BeFalse(), "the read may have come too early, so it begins no round")
}
