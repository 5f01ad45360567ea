package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

const (
	// restingConfigs are the VaultConfigs that the Connections at rest share, each in a namespace of its own.
	restingConfigs = 100
	// lookPause is between two looks at the controller's memory. Its metrics are read every 30 seconds, as config/prometheus
	// has it: with 10,000 Connections that costs something, too.
	lookPause      = 5 * time.Second
	looksPerScrape = 6
)

// TestConnections measures what Connections cost that nothing mounts and whose secrets do not change: each has a secret
// of its own, which is compared with Vault every four minutes. BENCH_CONNECTIONS is how many there are, BENCH_SECONDS
// how long they are watched; other times than multiples of four minutes say less, for Connections that were made
// together are looked at together.
func TestConnections(t *testing.T) {
	s := newSystem(t)
	number, window := setting(t, "BENCH_CONNECTIONS", 10_000), time.Duration(setting(t, "BENCH_SECONDS", 240))*time.Second
	report := newReport("connections", fmt.Sprintf("Connections of %d VaultConfigs at rest, each with a secret of its own, refreshInterval 60s, one replica, watched for %s",
		restingConfigs, window),
		"connections", "ready after s", "vault reads/min", "api writes/min", "goroutines", "resident MiB", "highest MiB", "heap MiB", "cpu %")
	s.addSpread(t, number)
	ready := s.createSpread(t, number)
	wait(t, 2*time.Minute) // the garbage of the start is collected, and every round has begun anew
	report.add(append([]float64{float64(number), ready.Seconds()}, s.watchConnections(t, report, number, window, 150)...)...)
	report.publish(t)
}

// addSpread makes the namespaces of Connections, each with a VaultConfig, and a secret for each Connection.
func (s *system) addSpread(t *testing.T, number int) {
	t.Helper()
	g := NewWithT(t)
	s.vault.Policy("bench", `path "secret/data/*" { capabilities = ["read"] }`)
	for i := range restingConfigs {
		name := restingNamespace(i)
		g.Expect(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
		s.addVaultConfig(t, name, builder.ConfigName, s.vault.URL(),
			s.vault.Token(env.TokenOptions{Policies: []string{"bench"}, TTL: time.Hour, Period: time.Hour}))
	}
	g.Eventually(func() int { return s.ready(t) }, 5*time.Minute, time.Second).Should(Equal(restingConfigs))
	timed(t, number, prepareAtATime, func(ctx context.Context, i int) error {
		_, err := s.vault.Client().Logical().WriteWithContext(ctx, fmt.Sprintf("secret/data/bench/%d", i),
			map[string]any{"data": map[string]any{"user": "scott", "password": fmt.Sprintf("tiger-%d", i)}})
		return err
	})
}

// createSpread makes the Connections, in each namespace as many, and returns how long it takes until all are ready.
func (s *system) createSpread(t *testing.T, number int) time.Duration {
	t.Helper()
	started := time.Now()
	timed(t, number, prepareAtATime, func(ctx context.Context, i int) error {
		namespace, name := restingNamespace(i%restingConfigs), fmt.Sprintf("connection-%d", i)
		return s.Client.Create(ctx, newConnection(namespace, name, fmt.Sprintf("bench/%d", i)))
	})
	NewWithT(t).Eventually(func() int { return s.readyConnections(t) }, 15*time.Minute, 5*time.Second).Should(Equal(number))
	return time.Since(started)
}

func restingNamespace(number int) string { return fmt.Sprintf("bench-%d", number) }

// watchConnections returns the columns of the row behind the first two.
func (s *system) watchConnections(t *testing.T, report *Report, number int, window time.Duration, maxMemory float64) []float64 {
	t.Helper()
	controller := watchProcess(t, s.controller)
	reads, api := s.vaultReads(t), s.api(t)
	started := time.Now()
	var goroutines, heap float64
	// Half of what is between two moments at which Connections are due, less than the rounds take: or those of one more
	// might be among them.
	ends := started.Add(window - time.Minute/16/2)
	for looks := 1; time.Now().Before(ends); looks++ {
		wait(t, min(lookPause, time.Until(ends)))
		controller.look(t)
		if looks%looksPerScrape != 0 {
			continue
		}
		now, err := scrape(t, s.metrics)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		goroutines, heap = max(goroutines, now["go_goroutines"]), max(heap, now["go_memstats_heap_inuse_bytes"])
	}
	minutes := time.Since(started).Minutes()
	reads, apiAfter := (s.vaultReads(t)-reads)/window.Minutes(), s.api(t)
	cpu, writes := controller.cpu(t), (apiAfter.otherWrites()-api.otherWrites())/minutes
	report.atMost("controller's memory, MiB", controller.peak, maxMemory)
	report.atMost("controller's CPU, % of a core", cpu, 5)
	report.atMost("reads for each secret and minute", reads/float64(number), 1)
	return []float64{reads, writes, goroutines, controller.peak, highest(t, s.controller), heap / mebibyte, cpu}
}
