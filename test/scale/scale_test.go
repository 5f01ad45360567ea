package scale

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// patience bounds each phase.
	patience = time.Hour
	// settling is between what happens and what happens next.
	settling = 20 * time.Second
	// looksAtRest is how often the replicas are looked at while nothing happens: a look costs them something.
	looksAtRest = 20 * time.Second
	// moments are how many there are in a refreshInterval at which volumes are due.
	moments = 16
)

// world is all that there is.
type world struct {
	size     size
	cluster  *cluster
	tenants  *tenants
	machines *machines
	volumes  []*mounted
	report   *report
}

// TestScale does, at the size that the environment says, what happens in the life of a large cluster, and counts what
// each costs.
func TestScale(t *testing.T) {
	w := &world{size: wanted(t)}
	w.report = newReport(w.size)
	defer w.report.publish(t) // what there is of it, whatever fails
	tell("%s", w.size)
	w.cluster = newCluster(t, w.size)
	w.tenants = newTenants(t, w.cluster, w.size)
	w.machines = newMachines(t, w.cluster, w.size.Nodes)
	w.mount(t)
	w.rest(t)
	w.watchSeconds(t, "rest, second by second")
	w.useShared(t)
	w.watchSeconds(t, "rest, one secret shared")
	w.change(t)
	w.loseReplica(t)
	w.comeBack(t)
	w.watchSeconds(t, "rest after that")
	w.drain(t)
}

// during counts what something costs, and adds it to the report, with the most of some things between two looks at the
// replicas.
func (w *world) during(t *testing.T, name string, looks time.Duration, do func()) counts {
	t.Helper()
	wait(t, settling)
	tell("%s …", name)
	before := w.count(t)
	stop := make(chan struct{})
	peaks, largest := counts{}, 0.0
	var watching sync.WaitGroup
	watching.Go(func() {
		last, at := before, time.Now()
		ticker := time.NewTicker(looks)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			now := w.countReplicas()
			took := time.Since(at).Seconds()
			for of, peak := range peakOf {
				peaks[peak] = max(peaks[peak], (now[of]-last[of])/took)
			}
			largest = max(largest, now[controllerSize])
			last, at = now, time.Now()
		}
	})
	do()
	after := w.count(t)
	close(stop)
	watching.Wait()
	cost := counts{}
	for quantity, value := range after {
		cost[quantity] = value - before[quantity]
	}
	for of, peak := range peakOf { // what takes less than a second has no other
		peaks[peak] = max(peaks[peak], (after[of]-before[of])/cost[seconds])
	}
	maps.Copy(cost, peaks)
	cost[controllerSize] = max(largest, after[controllerSize])
	w.report.Phases = append(w.report.Phases, phase{Name: name, Counts: cost})
	w.report.write(t)
	tell("%s: %.1f s", name, cost[seconds])
	return cost
}

// mount makes the pods, and has the kubelets mount what they want.
func (w *world) mount(t *testing.T) {
	t.Helper()
	w.volumes = make([]*mounted, w.size.Volumes)
	each(t, "pods", w.size.Volumes, func(ctx context.Context, i int) (err error) {
		w.volumes[i], err = w.tenants.newPod(ctx, fmt.Sprintf("app-%d", i), i, w.machines.all[w.size.nodeOf(i)])
		return err
	})
	cost := w.during(t, "mount", time.Second, func() { w.publish(t, w.volumes) })
	volumes := float64(w.size.Volumes)
	w.report.each("a mount: TokenReviews and reads of pods", (cost[volumeReviews]+cost[podReads])/volumes)
	w.report.each("a mount: controllers' CPU, ms", cost[controllerCPU]/volumes*1000)
	w.report.each("a mount: API server's CPU, ms", cost[apiServerCPU]/volumes*1000)
}

func (w *world) publish(t *testing.T, volumes []*mounted) {
	t.Helper()
	var failures atomic.Int64
	each(t, "mounted volumes", len(volumes), func(ctx context.Context, i int) error {
		again, err := volumes[i].publish(ctx)
		failures.Add(int64(again))
		return err
	})
	if again := failures.Load(); again > 0 {
		tell("%d tries to mount a volume failed, and were made again", again)
	}
}

// awaitRest waits until status says how many volumes there are: until nothing was written for a refreshInterval. What never
// comes to rest fails the limit of what is written there.
func (w *world) awaitRest(t *testing.T) {
	t.Helper()
	for range 10 {
		before := w.count(t)[apiWrites]
		wait(t, w.size.interval())
		if w.count(t)[apiWrites] == before {
			return
		}
		tell("status is still written")
	}
}

// watchSeconds watches two rounds, and what comes together in a second of them.
func (w *world) watchSeconds(t *testing.T, name string) {
	t.Helper()
	w.during(t, name, time.Second, func() { wait(t, 2*w.size.interval()) })
}

// rest watches what volumes cost while nothing changes.
func (w *world) rest(t *testing.T) {
	t.Helper()
	w.awaitRest(t)
	rest := time.Duration(w.size.Rest) * time.Second
	cost := w.during(t, "rest", looksAtRest, func() { wait(t, rest) })
	minutes, rounds, volumes := cost[seconds]/60, cost[seconds]/float64(w.size.Interval), float64(w.size.Volumes)
	authorized, reads := (cost[volumeReviews]+cost[podReads])/volumes/minutes, cost[vaultReads]/float64(w.size.Secrets)/rounds
	w.report.each("a refresh: requests to resolvers", cost[resolves]/cost[refreshes])
	w.report.each("a refresh: controllers' CPU, ms", cost[controllerCPU]/cost[refreshes]*1000)
	w.report.each("a refresh: the node's CPU, ms", cost[nodesCPU]/cost[refreshes]*1000)
	w.report.each("a secret and refreshInterval: requests to Vault", cost[vaultRequests]/float64(w.size.Secrets)/rounds)
	w.report.each("a node and refreshInterval: requests to resolvers", cost[resolves]/float64(w.size.Nodes)/rounds)
	w.report.atMost("requests to resolvers for each node and moment, at rest", cost[resolves]/float64(w.size.Nodes)/rounds/moments, 1.2)
	w.report.atMost("requests to the API server for each volume and minute, at rest", authorized, 0.15)
	w.report.atMost("writes to the API server, at rest", cost[apiWrites], 0)
	// Each replica reads for the nodes that ask it, and the leader for its own checks, too.
	w.report.atMost("reads in Vault for each secret, refreshInterval and replica, at rest", reads/float64(len(w.cluster.replicas)), 1)
}

// useShared has every Connection use one more secret, which is the same for all, until all volumes have it.
func (w *world) useShared(t *testing.T) {
	t.Helper()
	w.during(t, "every Connection changes", time.Second, func() {
		w.tenants.useShared(t)
		w.awaitShared(t, "0")
	})
}

// change changes the password that every volume has.
func (w *world) change(t *testing.T) {
	t.Helper()
	w.during(t, "the shared secret changes", time.Second, func() {
		NewWithT(t).Expect(w.tenants.share(t.Context(), "1")).To(Succeed())
		w.awaitShared(t, "1")
	})
}

// awaitShared waits until the last volume has a content of the shared secret.
func (w *world) awaitShared(t *testing.T, content string) {
	t.Helper()
	missing, told := w.volumes, time.Now()
	NewWithT(t).Eventually(func() int {
		var still []*mounted
		for _, v := range missing {
			if !v.holds("shared", content) {
				still = append(still, v)
			}
		}
		if missing = still; time.Since(told) > tellEvery {
			told = time.Now()
			tell("volumes without it: %d", len(missing))
		}
		return len(missing)
	}, patience, w.size.poll()).Should(BeZero())
}

// loseReplica kills the replica that leads, and waits until every volume was refreshed by the other. Then it is there
// again.
func (w *world) loseReplica(t *testing.T) {
	t.Helper()
	lost := w.cluster.replicas[0]
	for _, r := range w.cluster.replicas {
		if r.look(); r.leads() {
			lost = r
		}
	}
	w.during(t, "one replica dies", time.Second, func() {
		lost.kill()
		w.awaitFresh(t, time.Now())
	})
	lost.start(t)
}

// comeBack has all replicas away for a while, so that every volume of every node waits for them when they are there
// again. Their being away is not counted.
func (w *world) comeBack(t *testing.T) {
	t.Helper()
	for _, r := range w.cluster.replicas {
		r.kill()
	}
	wait(t, time.Duration(w.size.Outage)*time.Second-settling) // which follows
	w.during(t, "all come back", time.Second, func() {
		began := time.Now()
		for _, r := range w.cluster.replicas {
			r.launch(t)
		}
		w.awaitFresh(t, began)
	})
}

// awaitFresh waits until every volume was refreshed since a moment.
func (w *world) awaitFresh(t *testing.T, moment time.Time) {
	t.Helper()
	told := time.Now()
	NewWithT(t).Eventually(func() bool {
		if time.Since(told) > tellEvery {
			told = time.Now()
			tell("volumes whose last refresh failed: %.0f; the oldest refresh was %.0f s ago",
				w.machines.gathered(t, "sallyport_node_stale_volumes", false, every),
				w.machines.gathered(t, "sallyport_node_oldest_refresh_age_seconds", true, every))
		}
		return w.machines.freshSince(t, moment)
	}, patience, w.size.poll()).Should(BeTrue())
}

// drain empties a fifth of the nodes: their pods are deleted, and made anew on the others.
func (w *world) drain(t *testing.T) {
	t.Helper()
	drained, rest := w.machines.all[:w.size.Nodes/5], w.machines.all[w.size.Nodes/5:]
	var leaving []int
	for i := range w.volumes {
		if w.size.nodeOf(i) < len(drained) {
			leaving = append(leaving, i)
		}
	}
	w.during(t, "a fifth is drained", time.Second, func() {
		each(t, "pods that move", len(leaving), func(ctx context.Context, n int) error {
			i := leaving[n]
			if err := w.volumes[i].unpublish(ctx); err != nil {
				return err
			}
			if err := w.cluster.Client.Delete(ctx, w.volumes[i].pod, client.GracePeriodSeconds(0)); err != nil {
				return err
			}
			moved, err := w.tenants.newPod(ctx, fmt.Sprintf("moved-%d", i), i, rest[n%len(rest)])
			if err != nil {
				return err
			}
			w.volumes[i] = moved
			_, err = moved.publish(ctx)
			return err
		})
	})
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}
