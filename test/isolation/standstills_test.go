//go:build linux

package isolation

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestAStandstillCountsWhereItWas(t *testing.T) {
	g, now := NewWithT(t), time.Now()
	ago := func(seconds int) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	still := &standstills{last: now, all: []span{{ago(30), ago(29)}, {ago(10), ago(4)}}}
	g.Expect(still.within(ago(40), now)).To(Equal(7 * time.Second))
	g.Expect(still.within(ago(8), ago(5))).To(Equal(3 * time.Second))
	g.Expect(still.within(ago(3), now)).To(BeZero())
	g.Expect(still.within(ago(20), ago(9))).To(Equal(time.Second))

	noticed := &standstills{last: ago(2)}
	g.Expect(noticed.within(ago(1), now)).To(Equal(time.Second), "one that has just ended")
}

func TestATokenThatEndedInAStandstillIsNotLate(t *testing.T) {
	g, now := NewWithT(t), time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	late := func(still ...span) []time.Duration {
		r := renewals{at: map[string][]time.Time{"t": {ago(renewedTTL + 10*time.Second)}}}
		return r.lateness(ago(time.Hour), &standstills{last: now, all: still})
	}
	g.Expect(late()).To(ConsistOf(BeNumerically(">", renewalLimit)))
	g.Expect(late(span{ago(12 * time.Second), ago(5 * time.Second)})).To(BeEmpty())
	g.Expect(late(span{ago(time.Minute), ago(50 * time.Second)})).To(ConsistOf(BeNumerically(">", renewalLimit)), "before it was due")
}
