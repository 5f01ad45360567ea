package transport

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func healthy(version string) *healthResult {
	yes := true
	return &healthResult{status: 200, response: healthResponse{Initialized: &yes, Version: version}}
}

func TestHealthCache_AResultStandsForAWhile(t *testing.T) {
	g := NewWithT(t)
	var c healthCache
	now := time.Now()
	g.Expect(c.fresh(now, time.Time{})).To(BeNil())
	taken := c.put(healthy("1.21.1"), now)
	g.Expect(c.fresh(now.Add(healthyTTL*4/5), time.Time{})).To(BeIdenticalTo(taken))
	g.Expect(c.fresh(now.Add(healthyTTL*6/5), time.Time{})).To(BeNil())
}

func TestHealthCache_AFailingVaultIsAskedMoreOftenAtFirstAndNeverLessOftenThanEveryFewSeconds(t *testing.T) {
	g := NewWithT(t)
	var c healthCache
	now := time.Now()
	for _, pause := range []time.Duration{
		minUnhealthyTTL, 2 * minUnhealthyTTL, 4 * minUnhealthyTTL, maxUnhealthyTTL, maxUnhealthyTTL, maxUnhealthyTTL,
	} {
		c.put(&healthResult{err: errors.New("connection refused")}, now)
		g.Expect(c.until.Sub(now)).To(BeNumerically("~", pause, pause/5))
	}
	c.put(healthy("1.21.1"), now)
	c.put(&healthResult{err: errors.New("connection refused")}, now)
	g.Expect(c.until.Sub(now)).To(BeNumerically("~", minUnhealthyTTL, minUnhealthyTTL/5))
}

func TestHealthCache_NodesOfDifferentVersionsDoNotFlap(t *testing.T) {
	g := NewWithT(t)
	var c healthCache
	seen := func(version string) string { return c.put(healthy(version), time.Now()).response.Version }
	g.Expect(seen("1.20.0")).To(Equal("1.20.0"))
	for range 5 {
		g.Expect(seen("1.21.1")).To(Equal("1.20.0"))
		g.Expect(seen("1.21.1")).To(Equal("1.20.0"))
		g.Expect(seen("1.20.0")).To(Equal("1.20.0"))
	}
	g.Expect([]string{seen("1.21.1"), seen("1.21.1"), seen("1.21.1"), seen("1.21.1")}).To(Equal(
		[]string{"1.20.0", "1.20.0", "1.21.1", "1.21.1"}), "three in a row are an upgrade that is done")

	c.put(&healthResult{err: errors.New("connection refused")}, time.Now())
	g.Expect(seen("1.21.2")).To(Equal("1.21.2"), "a Vault that was away is believed at once")
}
