package bench

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	refreshInterval = 10 * time.Second
	// roundsBegin is when the rounds of a minute have ended, the short ones have begun, and each Connection's status no
	// longer counts the volumes that were unmounted last: two minutes after they should have asked again.
	roundsBegin = 3*time.Minute + 2*refreshInterval
	// early is how much sooner than an interval the next read of a secret may come.
	early = 50 * time.Millisecond
	// restSeconds is how long mounted volumes are watched. A first grant of ten minutes is renewed at a random moment
	// between one and nine minutes, and then another one after eight and a half at the earliest: in this time each volume
	// has one renewal, as in any other time as long. In a shorter time there is a share of them.
	restSeconds = 510
	// unmountedSeconds is how long the same is watched with nothing mounted.
	unmountedSeconds = 120

	// What mounted volumes at rest may cost.
	maxRequestsPerVolume = 0.15 // to the API server, of all kinds, a minute, beside what there is without volumes
	maxRequestsPerRound  = 1.2  // of a node to resolvers
	maxReadsPerRound     = 1    // in Vault, for each secret
)

// requestsAtRest are Sallyport's to the API server in a minute while nothing is mounted.
func (s *system) requestsAtRest(t *testing.T) float64 {
	t.Helper()
	before, started := s.api(t), time.Now()
	wait(t, time.Duration(min(setting(t, "BENCH_SECONDS", unmountedSeconds), unmountedSeconds))*time.Second)
	return (s.api(t).ofSallyport() - before.ofSallyport()) / time.Since(started).Minutes()
}

// watchMounted watches what mounted volumes cost while nothing changes, beside the requests a minute without any.
func (s *system) watchMounted(t *testing.T, k *kubelet, volumes int, unmounted float64) *Report {
	t.Helper()
	s.refreshOften(t)
	wait(t, roundsBegin)
	rounds := max(setting(t, "BENCH_SECONDS", restSeconds)/int(refreshInterval.Seconds()), 1)
	plugin, controller := watchProcess(t, k.plugin), watchProcess(t, s.controller)
	reads, calls, api := s.vaultReads(t), s.nodeCalls(t), s.api(t)
	started := time.Now()
	// A little less than the rounds take: one more would begin at the end.
	for time.Since(started) < time.Duration(rounds)*(refreshInterval-early)-time.Second {
		wait(t, time.Second)
		plugin.look(t)
		controller.look(t)
	}
	minutes := time.Since(started).Minutes()
	after := s.api(t)
	after.printKinds(api, minutes)
	reads, calls = (s.vaultReads(t)-reads)/connections/float64(rounds), (s.nodeCalls(t)-calls)/float64(rounds)
	requests := (after.ofSallyport() - api.ofSallyport()) / minutes
	each := (requests - unmounted) / float64(volumes)
	writes := after.otherWrites() - api.otherWrites()
	report := newReport("mounted", fmt.Sprintf("%d mounted volumes over %d Connections on one node, refreshed every %s, watched for %d rounds", volumes, connections, refreshInterval, rounds),
		"volumes", "Vault reads/secret and round", "API requests/volume and min", "API requests/min", "without volumes", "TokenReviews/min", "pod reads/min", "API writes",
		"requests of the node/round", "node MiB", "node CPU %", "controller MiB", "controller CPU %")
	report.add(float64(volumes), reads, each, requests, unmounted, (after.requests("tokenreviews", "POST")-api.requests("tokenreviews", "POST"))/minutes,
		(after.requests("pods", "GET")-api.requests("pods", "GET"))/minutes, writes, calls,
		plugin.peak, plugin.cpu(t), controller.peak, controller.cpu(t))
	report.atMost("reads in Vault for each secret and round", reads, maxReadsPerRound)
	report.atMost("API server requests of all kinds for each volume and minute", each, maxRequestsPerVolume)
	report.atMost("requests to resolvers for each node and round", calls, maxRequestsPerRound)
	report.atMost("API writes besides reviews", writes, 0)
	report.atMost("node plugin's memory, MiB", plugin.peak, 60)
	return report
}

// refreshOften gives the Connections the short interval.
func (s *system) refreshOften(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	list := &v1alpha1.ConnectionList{}
	g.Expect(s.Client.List(t.Context(), list, client.InNamespace(namespace))).To(Succeed())
	for i := range list.Items {
		before := list.Items[i].DeepCopy()
		list.Items[i].Spec.RefreshInterval = &metav1.Duration{Duration: refreshInterval}
		g.Expect(s.Client.Patch(t.Context(), &list.Items[i], client.MergeFrom(before))).To(Succeed())
	}
}
