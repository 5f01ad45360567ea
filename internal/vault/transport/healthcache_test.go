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

func TestHealthCache_WhatIsKnownOfNamespacesOutlivesAResult(t *testing.T) {
	yes, no := true, false
	of := func(status int, enterprise *bool) *healthResult {
		return &healthResult{status: status, response: healthResponse{Initialized: &yes, Enterprise: enterprise}}
	}
	for name, test := range map[string]struct {
		result       *healthResult
		lacks, known bool
		stands       time.Duration
	}{
		"the Community edition":           {of(200, &no), true, true, noNamespacesTTL},
		"a standby of it":                 {of(429, &no), true, true, noNamespacesTTL},
		"Enterprise":                      {of(200, &yes), false, true, namespacesTTL},
		"OpenBao, or a Vault before 1.16": {of(200, nil), false, true, namespacesTTL},
		"somebody else who says no":       {&healthResult{status: 403, response: healthResponse{Errors: []string{"no"}}}, false, true, namespacesTTL},
		"nobody":                          {result: &healthResult{err: errors.New("connection refused")}},
		"an error of the server":          {result: &healthResult{status: 502, err: &errNotVault{status: 502}}},
		"a body that broke off after it":  {result: &healthResult{status: 200, response: healthResponse{Enterprise: &no}, err: errors.New("EOF")}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var c healthCache
			now := time.Now()
			_, known := c.lacksNamespaces(now)
			g.Expect(known).To(BeFalse())
			c.put(test.result, now)
			lacks, known := c.lacksNamespaces(now)
			g.Expect([]bool{lacks, known}).To(Equal([]bool{test.lacks, test.known}))
			if test.known {
				_, known = c.lacksNamespaces(now.Add(test.stands))
				g.Expect(known).To(BeFalse())
				c.put(&healthResult{err: errors.New("connection refused")}, now)
				lacks, known = c.lacksNamespaces(now.Add(test.stands - time.Second))
				g.Expect([]bool{lacks, known}).To(Equal([]bool{test.lacks, true}), "an outage says nothing of it")
			}
			c.put(of(200, &yes), now)
			lacks, _ = c.lacksNamespaces(now)
			g.Expect(lacks).To(BeFalse(), "an upgrade is seen at once")
		})
	}
}
