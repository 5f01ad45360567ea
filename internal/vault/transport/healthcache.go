package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/flight"
)

const (
	// healthyTTL is how long a result stands while Vault is well.
	healthyTTL = 10 * time.Second
	// minUnhealthyTTL and maxUnhealthyTTL bound it for a Vault that is not, so that its return is seen within seconds.
	minUnhealthyTTL = 500 * time.Millisecond
	maxUnhealthyTTL = 4 * time.Second
	// namespacesTTL is how long it is believed of a Vault that it has namespaces, or that it does not tell, and
	// noNamespacesTTL that it has none, for it may be upgraded. Any look that is made meanwhile overrules both.
	namespacesTTL   = 10 * time.Minute
	noNamespacesTTL = time.Minute
	// maxLook bounds a look, whose request has its own bound: more than that.
	maxLook = time.Minute
)

// unhealthyTTLs are how long the results stand that follow each other while Vault is not well.
var unhealthyTTLs = wait.Backoff{Duration: minUnhealthyTTL, Factor: 2, Cap: maxUnhealthyTTL, Steps: 8}

// healthCache is the last result of sys/health, shared by all that use the same Transport. Nobody watches: who wants to
// know and finds no result that still stands asks for everybody. An LRUExpireCache has no way to let many callers join
// one look.
type healthCache struct {
	flights flight.Group[*healthResult]

	mu      sync.Mutex
	last    *healthResult
	until   time.Time
	ttls    wait.Backoff // of the failures to come; the zero value: none has been yet
	version versionDebounce
	// noNamespaces is what Vault said last of its edition, and namespacesUntil how long that is believed.
	noNamespaces    bool
	namespacesUntil time.Time
}

// healthResult is one response of sys/health, or why there is none. It is never changed.
type healthResult struct {
	began    time.Time
	response healthResponse
	status   int
	sent     bool
	err      error
}

// healthResponse is the body of sys/health. Initialized is a pointer to see that it is there: the endpoint has no
// request ID.
type healthResponse struct {
	Initialized       *bool  `json:"initialized"`
	Sealed            bool   `json:"sealed"`
	Standby           bool   `json:"standby"`
	Version           string `json:"version"`
	ClusterName       string `json:"cluster_name"`
	ReplicationDRMode string `json:"replication_dr_mode"`
	// Enterprise is nil of an OpenBao, which has namespaces, and of a Vault before 1.16.
	Enterprise *bool `json:"enterprise"`
	// Errors are there in place of all else when Vault says no.
	Errors []string `json:"errors"`
}

// noNamespaces: it is the Community edition by its own word.
func (r *healthResponse) noNamespaces() bool {
	return r.Initialized != nil && r.Enterprise != nil && !*r.Enterprise
}

func (r *healthResult) healthy() bool {
	return r.err == nil && r.response.Initialized != nil && *r.response.Initialized && !r.response.Sealed
}

// timedOut tells whether nobody answered, not even that he does not want to.
func (r *healthResult) timedOut() bool {
	problem, _ := describeConnection(r.err)
	return r.err != nil && r.status == 0 && problem == timedOut
}

// hidden tells whether the answer is somebody else's than Vault's, who says that he does not want to. Errors of a
// server (5xx) are those of one that does not reach Vault, and a quota (429) says no for now only.
func (r *healthResult) hidden() bool {
	status := r.status
	notVault, is := errors.AsType[*errNotVault](r.err)
	switch {
	case is:
		status = notVault.status
	case r.err != nil, r.response.Initialized != nil:
		return false
	}
	return status > 0 && status < http.StatusInternalServerError && status != http.StatusTooManyRequests
}

// get returns the last result if that still stands and is of a look that began after since, and otherwise asks. The
// error is the caller's own giving up, or a fault of ours.
func (c *healthCache) get(
	ctx context.Context, clk clock.PassiveClock, since time.Time, ask func(context.Context) *healthResult,
) (*healthResult, error) {
	if known := c.fresh(clk.Now(), since); known != nil {
		return known, nil
	}
	result, _, err := c.flights.Join(ctx, "", maxLook, func(ctx context.Context) (*healthResult, error) {
		if known := c.fresh(clk.Now(), since); known != nil { // another caller was faster
			return known, nil
		}
		return c.put(ask(ctx), clk.Now()), nil
	})
	return result, err
}

func (c *healthCache) fresh(now, since time.Time) *healthResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || !now.Before(c.until) || c.last.began.Before(since) {
		return nil
	}
	return c.last
}

// lacksNamespaces tells whether Vault said that it has no namespaces, and whether anything is known of that.
func (c *healthCache) lacksNamespaces(now time.Time) (lacks, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noNamespaces, now.Before(c.namespacesUntil)
}

// put remembers a result and decides how long it stands.
func (c *healthCache) put(result *healthResult, now time.Time) *healthResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	ttl := healthyTTL
	if result.healthy() {
		former := ""
		if c.last != nil && c.last.healthy() {
			former = c.last.response.Version
		}
		result.response.Version = c.version.accept(former, result.response.Version)
		c.ttls = wait.Backoff{}
	} else {
		if c.ttls.Duration == 0 {
			c.ttls = unhealthyTTLs
		}
		if ttl = c.ttls.Step(); result.timedOut() { // what took long to find stands until all who wait for it have come back
			ttl = maxUnhealthyTTL
		}
		c.version = versionDebounce{}
	}
	switch {
	case result.err == nil && result.response.noNamespaces():
		c.noNamespaces, c.namespacesUntil = true, now.Add(noNamespacesTTL)
	case result.err == nil && result.response.Initialized != nil, result.hidden():
		c.noNamespaces, c.namespacesUntil = false, now.Add(namespacesTTL)
	}
	// Half a fifth less or more, so that replicas do not come at the same moment.
	c.last, c.until = result, now.Add(ttl*9/10+rand.N(ttl/5)) //nolint:gosec // jitter
	return result
}

// debounceRuns is how often in a row a Vault that was well all the time must show another version before it is
// believed. Behind a load balancer the nodes of a cluster that is being upgraded answer in turn, and each change of
// status is a write.
const debounceRuns = 3

// versionDebounce keeps the version that is shown until another one was seen often enough in a row.
type versionDebounce struct {
	candidate string
	seen      int
}

// accept returns the version to show, given the former one, empty if there is none, and the one that was seen now.
func (d *versionDebounce) accept(former, version string) string {
	if former == "" || former == version {
		*d = versionDebounce{}
		return version
	}
	if d.candidate != version {
		*d = versionDebounce{candidate: version}
	}
	if d.seen++; d.seen < debounceRuns {
		return former
	}
	*d = versionDebounce{}
	return version
}
