package resolver

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testingclock "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/internal/vault/secrets"
)

const interval = 10 * time.Second

func newTestRounds() (*rounds, *testingclock.FakePassiveClock) {
	clk := testingclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	r := newRounds(clk)
	return &r, clk
}

func TestOneReadServesARound(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	_, fresh, _ := r.recall("s", interval)
	g.Expect(fresh).To(BeFalse(), "a secret that was never read is not known")

	three := r.seen("s", &secrets.Secret{Version: 3}, clk.Now())
	marker, fresh, _ := r.recall("s", interval)
	g.Expect(fresh).To(BeTrue())
	g.Expect(marker).To(Equal(three))
	g.Expect(r.due("s", interval)).To(Equal(interval))

	clk.SetTime(clk.Now().Add(6 * time.Second))
	g.Expect(r.due("s", interval)).To(Equal(4*time.Second), "all volumes are told the same moment, whenever they ask")
	_, fresh, _ = r.recall("s", 5*time.Second)
	g.Expect(fresh).To(BeFalse(), "a volume with a shorter interval reads sooner")

	clk.SetTime(clk.Now().Add(4 * time.Second))
	_, fresh, _ = r.recall("s", interval)
	g.Expect(fresh).To(BeFalse(), "the round has ended")
}

func TestASecretWithoutVersionsGetsANewMarkerOnlyWhenItChanges(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	first := r.seen("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": "2"}}, clk.Now())
	g.Expect(r.seen("s", &secrets.Secret{Data: map[string]any{"b": "2", "a": "1"}}, clk.Now())).To(Equal(first))
	g.Expect(r.seen("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": "3"}}, clk.Now())).NotTo(Equal(first))

	other, _ := newTestRounds()
	g.Expect(other.seen("s", &secrets.Secret{Data: map[string]any{"a": "1", "b": "2"}}, clk.Now())).NotTo(Equal(first),
		"another replica's markers say nothing about this one's")
}

func TestAFailureIsSharedForAMomentOnly(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	one := r.seen("s", &secrets.Secret{Version: 1}, clk.Now())
	down := errors.New("down")
	r.failed("s", down)
	_, fresh, failure := r.recall("s", interval)
	g.Expect(fresh).To(BeTrue())
	g.Expect(failure).To(Equal(down))

	clk.SetTime(clk.Now().Add(failureMemory))
	marker, _, failure := r.recall("s", interval)
	g.Expect(failure).NotTo(HaveOccurred())
	g.Expect(marker).To(Equal(one), "what was read before the failure is still this round's")
}

func TestAReadThatOverlapsALaterOneDoesNotTurnTheClockBack(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	two := r.seen("s", &secrets.Secret{Version: 2}, clk.Now())
	r.seen("s", &secrets.Secret{Version: 1}, clk.Now().Add(-time.Second))
	marker, _, _ := r.recall("s", interval)
	g.Expect(marker).To(Equal(two))
}

func TestASecretThatIsMadeAnewIsAnotherOne(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	first := r.seen("s", &secrets.Secret{Version: 1, CreatedTime: clk.Now()}, clk.Now())
	g.Expect(r.seen("s", &secrets.Secret{Version: 1, CreatedTime: clk.Now().Add(time.Minute)}, clk.Now())).NotTo(Equal(first),
		"after its metadata was deleted, versions begin at 1 again")

	first = r.seen("v1", &secrets.Secret{Data: map[string]any{"a": "1"}}, clk.Now())
	clk.SetTime(clk.Now().Add(roundMemory))
	r.seen("other", &secrets.Secret{Version: 1}, clk.Now())
	g.Expect(r.entries).NotTo(HaveKey("v1"))
	g.Expect(r.seen("v1", &secrets.Secret{Data: map[string]any{"a": "2"}}, clk.Now())).NotTo(Equal(first), "also after it was forgotten")
}

func TestForgottenSecretsLeaveNoTrace(t *testing.T) {
	g := NewWithT(t)
	r, clk := newTestRounds()
	r.seen("old", &secrets.Secret{Version: 1}, clk.Now())
	clk.SetTime(clk.Now().Add(roundMemory))
	r.seen("new", &secrets.Secret{Version: 1}, clk.Now())
	g.Expect(r.entries).To(HaveLen(1))
}
