package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/internal/resolver/client"
	"sallyport.dev/sallyport/test/env"
)

// fleetNodes is how many node plugins share the volumes: all are in one process and come from one address, which a
// resolver takes 16 connections from.
const fleetNodes = 15

// fleet are node plugins in this process, with real mounts, and what their kubelets would do.
type fleet struct {
	nodes      []*env.Node
	kubelets   []*env.Kubelet
	registries []*prometheus.Registry
}

// TestMountedConnections measures what Connections cost that are all mounted, each with a secret of its own that does
// not change: each is compared with Vault in every interval. The node plugins are the real driver and client.
// BENCH_CONNECTIONS is how many there are, BENCH_SECONDS how long they are watched.
func TestMountedConnections(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	g := NewWithT(t)
	s := newSystem(t)
	number, window := setting(t, "BENCH_CONNECTIONS", 10_000), time.Duration(setting(t, "BENCH_SECONDS", 240))*time.Second
	report := newReport("connections-mounted", fmt.Sprintf("Connections of %d VaultConfigs, each with a secret of its own and mounted once, on %d nodes, refreshInterval 60s, one replica, watched for %s",
		restingConfigs, fleetNodes, window),
		"connections", "ready after s", "vault reads/min", "api writes/min", "goroutines", "resident MiB", "highest MiB", "heap MiB", "cpu %",
		"mounted after s", "requests of nodes/min", "stale volumes")
	s.addSpread(t, number)
	ready := s.createSpread(t, number)
	f := s.newFleet(t)
	mounted := f.mount(t, number)
	wait(t, 2*time.Minute) // the garbage of the start is collected, and each has been refreshed
	calls, started := s.nodeCalls(t), time.Now()
	row := append([]float64{float64(number), ready.Seconds()}, s.watchConnections(t, report, number, window, 180)...)
	calls = (s.nodeCalls(t) - calls) / time.Since(started).Minutes()
	stale := f.gauge(g, "sallyport_node_stale_volumes")
	report.add(append(row, mounted.elapsed.Seconds(), calls, stale)...)
	report.atMost("volumes whose last refresh failed", stale, 0)
	report.atMost("oldest refresh, s: the interval and what is usual", f.gauge(g, "sallyport_node_oldest_refresh_age_seconds"), 70)
	report.publish(t)
}

// newFleet starts the node plugins.
func (s *system) newFleet(t *testing.T) *fleet {
	t.Helper()
	g := NewWithT(t)
	dir, _, err := env.KubeletDir() // gone with the mount namespace
	g.Expect(err).NotTo(HaveOccurred())
	f := &fleet{}
	for i := range fleetNodes {
		f.add(t, s, fmt.Sprintf("fleet-%d", i), filepath.Join(dir, fmt.Sprint(i)))
	}
	return f
}

func (f *fleet) add(t *testing.T, s *system, name, dir string) {
	t.Helper()
	g := NewWithT(t)
	machine, err := s.CreateNode(t.Context(), name)
	g.Expect(err).NotTo(HaveOccurred())
	token, err := machine.Token(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	tokenFile := filepath.Join(t.TempDir(), "token")
	g.Expect(os.WriteFile(tokenFile, []byte(token), 0o600)).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(dir, "pods"), 0o750)).To(Succeed())
	resolver := client.New(client.Config{Kubernetes: s.Clients, Namespace: env.Namespace, NodeName: name, TokenFile: tokenFile})
	registry := prometheus.NewRegistry()
	driver, err := node.New(node.Config{
		NodeName: name, Version: "bench", Resolver: resolver, Changes: resolver, Registry: registry, KubeletDir: dir, MemoryBudget: 1 << 30,
	})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- resolver.Run(ctx) }()
	go func() { ended <- driver.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Expect(<-ended).To(Succeed())
		g.Expect(<-ended).To(Succeed())
	})
	kubelet, err := s.NewKubelet(t.Context(), dir)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = kubelet.Close() })
	f.nodes, f.kubelets, f.registries = append(f.nodes, machine), append(f.kubelets, kubelet), append(f.registries, registry)
}

// mount mounts every Connection once.
func (f *fleet) mount(t *testing.T, number int) timing {
	t.Helper()
	return timed(t, number, 2*prepareAtATime, func(ctx context.Context, i int) error {
		attributes := map[string]string{v1alpha1.AttributeConnection: fmt.Sprintf("connection-%d", i)}
		pod, err := f.nodes[i%fleetNodes].CreatePod(ctx, restingNamespace(i%restingConfigs), fmt.Sprintf("app-%d", i), attributes)
		if err != nil {
			return err
		}
		_, err = f.kubelets[i%fleetNodes].Publish(ctx, pod)
		return err
	})
}

// gauge adds up a gauge of all nodes; of ages it is the largest.
func (f *fleet) gauge(g Gomega, name string) (value float64) {
	for _, registry := range f.registries {
		families, err := registry.Gather()
		g.Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			if family.GetName() == name {
				value = max(value, family.GetMetric()[0].GetGauge().GetValue())
			}
		}
	}
	return value
}
