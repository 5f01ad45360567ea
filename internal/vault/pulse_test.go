package vault

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func healthy(version string) *beat {
	yes := true
	return &beat{status: 200, answer: healthAnswer{Initialized: &yes, Version: version}}
}

func TestPulse_AnAnswerStandsForAWhile(t *testing.T) {
	g := NewWithT(t)
	var p pulse
	now := time.Now()
	g.Expect(p.known(now)).To(BeNil())
	taken := p.note(healthy("1.21.1"), now)
	g.Expect(p.known(now.Add(restingPulse * 4 / 5))).To(BeIdenticalTo(taken))
	g.Expect(p.known(now.Add(restingPulse * 6 / 5))).To(BeNil())
}

func TestPulse_AFailingVaultIsAskedMoreOftenAtFirstAndNeverLessOftenThanEveryFewSeconds(t *testing.T) {
	g := NewWithT(t)
	var p pulse
	now := time.Now()
	for _, pause := range []time.Duration{minPulse, 2 * minPulse, 4 * minPulse, maxPulse, maxPulse, maxPulse} {
		p.note(&beat{err: errors.New("connection refused")}, now)
		g.Expect(p.until.Sub(now)).To(BeNumerically("~", pause, pause/5))
	}
	p.note(healthy("1.21.1"), now)
	p.note(&beat{err: errors.New("connection refused")}, now)
	g.Expect(p.until.Sub(now)).To(BeNumerically("~", minPulse, minPulse/5))
}

func TestPulse_NodesOfDifferentVersionsDoNotFlap(t *testing.T) {
	g := NewWithT(t)
	var p pulse
	seen := func(version string) string { return p.note(healthy(version), time.Now()).answer.Version }
	g.Expect(seen("1.20.0")).To(Equal("1.20.0"))
	for range 5 {
		g.Expect(seen("1.21.1")).To(Equal("1.20.0"))
		g.Expect(seen("1.21.1")).To(Equal("1.20.0"))
		g.Expect(seen("1.20.0")).To(Equal("1.20.0"))
	}
	g.Expect([]string{seen("1.21.1"), seen("1.21.1"), seen("1.21.1"), seen("1.21.1")}).To(Equal(
		[]string{"1.20.0", "1.20.0", "1.21.1", "1.21.1"}), "three in a row are an upgrade that is done")

	p.note(&beat{err: errors.New("connection refused")}, time.Now())
	g.Expect(seen("1.21.2")).To(Equal("1.21.2"), "a Vault that was away is believed at once")
}
