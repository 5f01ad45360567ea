package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const (
	namespace   = "bench"
	connections = 10
	// prepareAtATime is how many objects are made at a time before a measurement.
	prepareAtATime = 8
)

var writing = []string{"POST", "PUT", "PATCH", "APPLY", "DELETE"}

// TestPublish measures how fast volumes are mounted: the requests of a kubelet to the node plugin, for pods that exist
// with tokens that are theirs, each compared with the least that could mount a volume, in turn. Then it watches what
// mounted volumes cost. BENCH_VOLUMES is how many volumes there are, BENCH_REPEAT how often they are mounted, and
// BENCH_SECONDS how long they are watched.
func TestPublish(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	s := newSystem(t)
	s.countRequests(t)
	k, f := newKubelet(t, s), newFloor(t, s)
	s.addConnections(t)
	s.settle(t)
	unmounted := s.requestsAtRest(t)
	volumes, repeat := setting(t, "BENCH_VOLUMES", 200), setting(t, "BENCH_REPEAT", 5)
	report := newReport("publish", fmt.Sprintf("%d volumes over %d Connections, mounted %d times in turn with the floor", volumes, connections, repeat),
		"concurrency", "volumes/s", "floor/s", "ratio", "p50 ms", "floor p50", "p99 ms", "floor p99", "ratio of p99",
		"vault reads", "reviews/volume", "pod reads/volume", "other writes", "unpublished/s")
	var mounted []pod
	for _, concurrency := range []int{1, 20} {
		run := s.comparePublish(t, k, f, volumes, repeat, concurrency)
		run.report(report)
		mounted = run.last
		if concurrency == 1 {
			k.unpublish(t, mounted, concurrency)
		}
	}
	report.publish(t)
	s.watchMounted(t, k, len(mounted), unmounted).publish(t)
}

// addTenant makes the namespace, with a VaultConfig that may read every secret.
func (s *system) addTenant(t *testing.T) {
	t.Helper()
	s.vault.Policy("bench", `path "secret/data/*" { capabilities = ["read"] }`)
	NewWithT(t).Expect(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	s.addVaultConfig(t, namespace, builder.ConfigName, s.vault.URL(),
		s.vault.Token(env.TokenOptions{Policies: []string{"bench"}, TTL: time.Hour, Period: time.Hour}))
}

// addConnections makes the Connections, each with a secret of its own, and waits until they are ready.
func (s *system) addConnections(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	s.addTenant(t)
	for i := range connections {
		path := fmt.Sprintf("bench/%d", i)
		s.vault.PutKV("secret/data/"+path, map[string]any{"user": "scott", "password": fmt.Sprintf("tiger-%d", i)})
		g.Expect(s.Client.Create(t.Context(), newConnection(namespace, fmt.Sprintf("connection-%d", i), path))).To(Succeed())
	}
	g.Eventually(func() int { return s.readyConnections(t) }, time.Minute, 100*time.Millisecond).Should(Equal(connections))
}

func newConnection(namespace, name, path string) *v1alpha1.Connection {
	return builder.Connection(namespace, name, map[string]any{"user": "vault.secret(user)", "password": "vault.secret(password)"},
		builder.WithType("bench"), builder.WithSecret(path), builder.WithRefreshInterval(time.Minute))
}

func (s *system) readyConnections(t *testing.T) int {
	t.Helper()
	list := &v1alpha1.ConnectionList{}
	NewWithT(t).Expect(s.Client.List(t.Context(), list)).To(Succeed())
	count := 0
	for i := range list.Items {
		if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			count++
		}
	}
	return count
}

// publishRun is what was measured at one concurrency.
type publishRun struct {
	concurrency, volumes, repeat int
	product, floor, unpublish    timing
	// ratios are those of the rates in each turn, and reads the most that Vault answered in one.
	ratios                           []float64
	reads, reviews, podReads, writes float64
	// last are the pods of the last turn, whose volumes are still mounted.
	last []pod
}

func (s *system) comparePublish(t *testing.T, k *kubelet, f *floor, volumes, repeat, concurrency int) *publishRun {
	t.Helper()
	run := &publishRun{concurrency: concurrency, volumes: volumes, repeat: repeat}
	for turn := range repeat {
		// Pods of their own for both, so that the API server reviews no token twice.
		floors := k.makePods(t, fmt.Sprintf("floor-%d-%d", concurrency, turn), volumes)
		pods := k.makePods(t, fmt.Sprintf("app-%d-%d", concurrency, turn), volumes)
		if run.last != nil {
			run.unpublish = run.unpublish.plus(k.unpublish(t, run.last, concurrency))
		}
		wait(t, time.Second)
		var least, product timing
		if turn%2 == 0 {
			least = f.mount(t, floors, concurrency)
		}
		vaultBefore, apiBefore := s.vaultReads(t), s.api(t)
		product = k.publish(t, pods, concurrency)
		vaultAfter, apiAfter := s.vaultReads(t), s.api(t)
		if turn%2 != 0 {
			least = f.mount(t, floors, concurrency)
		}
		run.product, run.floor, run.last = run.product.plus(product), run.floor.plus(least), pods
		run.ratios = append(run.ratios, product.rate()/least.rate())
		run.reads = max(run.reads, vaultAfter-vaultBefore)
		run.reviews += apiAfter.requests("tokenreviews", "POST") - apiBefore.requests("tokenreviews", "POST")
		run.podReads += apiAfter.requests("pods", "GET") - apiBefore.requests("pods", "GET")
		run.writes += apiAfter.otherWrites() - apiBefore.otherWrites()
	}
	return run
}

// otherWrites are all but the reviews of tokens, and but those of leases: an API server has one of its own, and
// replicas here elect no leader.
func (s sample) otherWrites() float64 {
	writes := s.requests("", writing...)
	for _, resource := range []string{"tokenreviews", "subjectaccessreviews", "leases"} {
		writes -= s.requests(resource, writing...)
	}
	return writes
}

func (r *publishRun) report(report *Report) {
	all := float64(r.volumes * r.repeat)
	ratio, tail := median(r.ratios), r.product.percentile(0.99)/r.floor.percentile(0.99)
	report.add(float64(r.concurrency), r.product.rate(), r.floor.rate(), ratio,
		r.product.percentile(0.5), r.floor.percentile(0.5), r.product.percentile(0.99), r.floor.percentile(0.99), tail,
		r.reads, r.reviews/all, r.podReads/all, r.writes, r.unpublish.rate())
	at := fmt.Sprintf(" at concurrency %d", r.concurrency)
	report.atLeast("publish rate by floor"+at, ratio, 0.4)
	report.goalAtLeast("publish rate by floor"+at, ratio, map[int]float64{1: 0.75, 20: 0.9}[r.concurrency])
	report.goal("p99 by floor"+at, tail, 1.5)
	if r.concurrency > 1 {
		report.atMost("p99 by floor"+at, tail, 4)
		// One for the volumes. The Connections are compared with Vault themselves now and then, which may fall into a turn.
		report.atMost("reads for each secret when all are mounted"+at, r.reads/connections, 1.2)
	}
	// A Connection's status says how many volumes there are: once in ten seconds, however many that are.
	report.atMost("API writes for each volume besides reviews"+at, math.Max(0, r.writes-float64(r.repeat*connections))/all, 0)
}

// median is the middle one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// vaultReads is how many reads Vault's engine at secret/ has answered, by its own telemetry.
func (s *system) vaultReads(t *testing.T) float64 {
	t.Helper()
	g := NewWithT(t)
	response, err := s.vault.Client().Logical().ReadRawWithDataWithContext(t.Context(), "sys/metrics", map[string][]string{"format": {"prometheus"}})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	return parse(string(content))["vault_route_read_secret__count"]
}
