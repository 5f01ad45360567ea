package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// changing are the Connections of each interval whose secrets change, each with a volume.
const changing = 10

// changeIntervals are the refresh intervals that are measured.
var changeIntervals = []time.Duration{5 * time.Second, 10 * time.Second, 30 * time.Second}

// TestChange measures how long a change in Vault takes to the new file in a volume, from the moment that Vault has
// answered the write. Changes are made at random moments, independent of each other. BENCH_CHANGES is how many each
// Connection has.
func TestChange(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	s := newSystem(t)
	k := newKubelet(t, s)
	s.addTenant(t)
	number := setting(t, "BENCH_CHANGES", 3)
	volumes := s.addChanging(t, k)
	took := make([]timing, len(changeIntervals))
	var mu sync.Mutex
	timed(t, len(volumes), len(volumes), func(ctx context.Context, i int) error {
		of := i / changing
		for n := range number {
			wait(t, rand.N(changeIntervals[of]))
			elapsed, err := s.change(ctx, i, fmt.Sprintf("changed-%d", n), volumes[i].request.GetTargetPath())
			if err != nil {
				return err
			}
			mu.Lock()
			took[of].took = append(took[of].took, elapsed)
			mu.Unlock()
		}
		return nil
	})
	report := newReport("change", fmt.Sprintf("seconds from a change in Vault to the new file, %d volumes of each interval with a secret of their own", changing),
		"interval s", "changes", "p50 s", "p95 s", "slowest s")
	for i, interval := range changeIntervals {
		slowest := took[i].percentile(1) / 1000
		report.add(interval.Seconds(), float64(len(took[i].took)), took[i].percentile(0.5)/1000, took[i].percentile(0.95)/1000, slowest)
		report.atMost(fmt.Sprintf("slowest change with an interval of %s, s: it and two seconds", interval), slowest, interval.Seconds()+2)
	}
	report.publish(t)
}

// addChanging mounts a volume of each Connection.
func (s *system) addChanging(t *testing.T, k *kubelet) []pod {
	t.Helper()
	g := NewWithT(t)
	volumes := make([]pod, changing*len(changeIntervals))
	for i := range volumes {
		path, name := fmt.Sprintf("bench/%d", i), fmt.Sprintf("connection-%d", i)
		s.vault.PutKV("secret/data/"+path, map[string]any{"user": "scott", "password": "tiger"})
		connection := newConnection(namespace, name, path)
		connection.Spec.RefreshInterval = &metav1.Duration{Duration: changeIntervals[i/changing]}
		g.Expect(s.Client.Create(t.Context(), connection)).To(Succeed())
	}
	g.Eventually(func() int { return s.readyConnections(t) }, time.Minute, 100*time.Millisecond).Should(Equal(len(volumes)))
	for i := range volumes {
		var err error
		volumes[i], err = k.makePod(t.Context(), fmt.Sprintf("app-%d", i), fmt.Sprintf("connection-%d", i))
		g.Expect(err).NotTo(HaveOccurred())
	}
	k.publish(t, volumes, 4)
	return volumes
}

// change writes a new password, and returns how long the volume takes to have it.
func (s *system) change(ctx context.Context, secret int, password, volume string) (time.Duration, error) {
	data := map[string]any{"data": map[string]any{"user": "scott", "password": password}}
	if _, err := s.vault.Client().Logical().WriteWithContext(ctx, fmt.Sprintf("secret/data/bench/%d", secret), data); err != nil {
		return 0, err
	}
	written := time.Now()
	for {
		content, err := os.ReadFile(filepath.Join(volume, "password"))
		if err != nil {
			return 0, err
		}
		if string(content) == password {
			return time.Since(written), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
