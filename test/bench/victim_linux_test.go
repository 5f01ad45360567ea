package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sallyport.dev/sallyport/test/isolation"
)

// TestVictim measures what a well-behaved tenant has while a hostile one attacks, beside what it has at rest: the rows
// of test/isolation, each for BENCH_SECONDS, with the memory limits of config/.
func TestVictim(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	g := NewWithT(t)
	log.SetLogger(logr.Discard())
	s, err := isolation.Start(t.Context(), outputDirectory(t))
	t.Cleanup(func() { g.Expect(s.Close()).To(Succeed()) })
	g.Expect(err).NotTo(HaveOccurred())
	victim, err := isolation.NewVictim(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(victim.Close(t.Context())).To(Succeed()) })
	window := time.Duration(setting(t, "BENCH_SECONDS", 40)) * time.Second
	report := newReport("victim", fmt.Sprintf("a tenant at rest (row 0), and while another one attacks as in test/isolation, for %s each", window),
		"row", "mounts", "mount p50 ms", "mount p99 ms", "latest renewal s", "refresh s", "task p99 s", "controller MiB", "node MiB", "ended")
	run := func(row int, attack isolation.Attack) *isolation.Result {
		result, err := victim.Run(t.Context(), attack, fmt.Sprintf("hostile-%d", row), window)
		g.Expect(err).NotTo(HaveOccurred())
		mounts := result.Figures["mount"]
		report.add(float64(row), float64(len(mounts.Samples)), milliseconds(mounts.Percentile(0.5)), milliseconds(mounts.Percentile(0.99)),
			result.Figures["renewal"].Worst().Seconds(), result.Figures["refresh"].Worst().Seconds(), result.Figures["task"].Percentile(0.99).Seconds(),
			float64(result.Controller)/mebibyte, float64(result.Node)/mebibyte, float64(len(result.Ends)))
		_ = victim.Calm(t.Context(), time.Minute) // what is not calm shows in the next row
		return result
	}
	calm := run(0, isolation.Rest)
	fmt.Printf("row 0: %s\n", isolation.Rest.Name)
	var tails, late []float64
	var ended int
	for i, attack := range isolation.Attacks {
		fmt.Printf("row %d: %s\n", i+1, attack.Name)
		result := run(i+1, attack)
		tails = append(tails, milliseconds(result.Figures["mount"].Percentile(0.99)))
		late = append(late, result.Figures["renewal"].Worst().Seconds())
		ended += len(result.Ends)
	}
	report.atMost("p99 of mounts by calm, median of all rows", median(tails)/milliseconds(calm.Figures["mount"].Percentile(0.99)), 3)
	report.atMost("latest renewal, s", slices.Max(late), 5)
	report.atMost("processes that ended", float64(ended), 0)
	report.publish(t)
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
