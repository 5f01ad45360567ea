package bench

import (
	"fmt"
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

// tokenTTL is short, so that renewals show in a window of minutes: each token is renewed after 170 to 200 seconds.
const tokenTTL = 5 * time.Minute

// perNamespace is how many VaultConfigs share a namespace.
const perNamespace = 20

// TestVaultConfigs measures what VaultConfigs cost while nothing happens: each has a token of its own in a Secret of
// its own, and all are for one Vault. BENCH_CONFIGS is how many there are in the end, BENCH_SECONDS how long each
// number is watched.
func TestVaultConfigs(t *testing.T) {
	g := NewWithT(t)
	s := newSystem(t)
	last, window := setting(t, "BENCH_CONFIGS", 1000), time.Duration(setting(t, "BENCH_SECONDS", 240))*time.Second
	report := newReport("vaultconfigs", fmt.Sprintf("VaultConfigs of one Vault at rest, tokens that live %s, one replica, watched for %s each", tokenTTL, window),
		"vaultconfigs", "ready after s", "vault req/min", "of these health", "of these renewals", "api writes/min", "of these status",
		"secret reads/min", "goroutines", "resident MiB", "heap MiB", "cpu %")
	made := 0
	for _, number := range []int{last / 10, last} {
		started := time.Now()
		for ; made < number; made++ {
			s.addConfig(t, made)
		}
		g.Eventually(func() int { return s.ready(t) }, 10*time.Minute, time.Second).Should(Equal(number))
		ready := time.Since(started)
		s.settle(t)
		report.add(append([]float64{float64(number), ready.Seconds()}, s.watch(t, window)...)...)
	}
	report.publish(t)
}

// addConfig makes the VaultConfig of a number, with its Secret.
func (s *system) addConfig(t *testing.T, number int) {
	t.Helper()
	g := NewWithT(t)
	namespace := fmt.Sprintf("bench-%d", number/perNamespace)
	if number%perNamespace == 0 {
		g.Expect(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	}
	s.addVaultConfig(t, namespace, fmt.Sprintf("vault-%d", number), s.proxy.URL(),
		s.vault.Token(env.TokenOptions{TTL: tokenTTL, Period: tokenTTL}))
}

// addVaultConfig makes a VaultConfig with a token of its own, and the token's Secret of the same name.
func (s *system) addVaultConfig(t *testing.T, namespace, name, url, token string) {
	t.Helper()
	g := NewWithT(t)
	config := s.vault.Config(namespace, name, builder.WithURL(url), builder.WithTokenSecret(name))
	g.Expect(s.Client.Create(t.Context(), builder.TokenSecret(namespace, name, token))).To(Succeed())
	g.Expect(s.Client.Create(t.Context(), config)).To(Succeed())
}

// ready is how many VaultConfigs are.
func (s *system) ready(t *testing.T) int {
	t.Helper()
	list := &v1alpha1.VaultConfigList{}
	NewWithT(t).Expect(s.Client.List(t.Context(), list)).To(Succeed())
	count := 0
	for i := range list.Items {
		if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			count++
		}
	}
	return count
}

// settle waits until the events and writes of the start are over.
func (s *system) settle(t *testing.T) {
	t.Helper()
	wait(t, 30*time.Second)
}

// watch returns the columns of one row behind the first two.
func (s *system) watch(t *testing.T, window time.Duration) []float64 {
	t.Helper()
	g := NewWithT(t)
	look := func() (api, controller sample) {
		api, err := s.apiServer(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		controller, err = scrape(t, s.metrics)
		g.Expect(err).NotTo(HaveOccurred())
		return api, controller
	}
	apiBefore, before := look()
	s.proxy.Reset()
	started := time.Now()
	var goroutines, resident, heap float64
	for time.Since(started) < window {
		wait(t, 5*time.Second)
		now, err := scrape(t, s.metrics)
		g.Expect(err).NotTo(HaveOccurred())
		goroutines, resident, heap = max(goroutines, now["go_goroutines"]), max(resident, now["process_resident_memory_bytes"]), max(heap, now["go_memstats_heap_inuse_bytes"])
	}
	health, renewals, all := s.counts()
	minutes := time.Since(started).Minutes()
	apiAfter, after := look()
	delta := func(resource string, verbs ...string) float64 {
		return (apiAfter.requests(resource, verbs...) - apiBefore.requests(resource, verbs...)) / minutes
	}
	writes := []string{"POST", "PUT", "PATCH", "APPLY", "DELETE"}
	status := delta("vaultconfigs", writes...)
	const mebibyte = 1 << 20
	return []float64{
		all / minutes, health / minutes, renewals / minutes,
		status + delta("events", writes...) + delta("configmaps", writes...), status,
		delta("secrets", "GET"), goroutines, resident / mebibyte, heap / mebibyte,
		(after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) / minutes / 60 * 100,
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}
