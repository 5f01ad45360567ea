package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sallyport.dev/sallyport/test/isolation"
)

const (
	// tolerable is a p99 of mounts that nobody minds, where three times what it is at rest would be less than what a
	// process of the attacker's on the same two cores costs.
	tolerable = 250 * time.Millisecond
	// latestRenewal is how late a renewal may be because of somebody else.
	latestRenewal = 5 * time.Second
	// containerLimit is what config/ gives a replica, and a node plugin.
	containerLimit = 256
)

// TestVictim measures what a well-behaved tenant has while a hostile one attacks, beside what it has at rest: the rows
// of test/isolation, each for BENCH_SECONDS, with the memory limits of config/. A row fails it that fails there, too.
// BENCH_ROWS, such as 9-16, are the rows to measure, always beside rest.
func TestVictim(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	g := NewWithT(t)
	log.SetLogger(logr.Discard())
	from, to, name := rowsToMeasure(t)
	s, err := isolation.Start(t.Context(), outputDirectory(t))
	t.Cleanup(func() { g.Expect(s.Close()).To(Succeed()) })
	g.Expect(err).NotTo(HaveOccurred())
	victim, err := isolation.NewVictim(t.Context(), s)
	g.Expect(err).NotTo(HaveOccurred())
	// A test's own context ends before its cleanup.
	t.Cleanup(func() { g.Expect(victim.Close(context.WithoutCancel(t.Context()))).To(Succeed()) })
	victim.MountPause = 50 * time.Millisecond
	g.Expect(victim.Calm(t.Context(), time.Minute)).To(Succeed(), "before any attack")
	m := &victimMeasurement{
		victim: victim, window: time.Duration(setting(t, "BENCH_SECONDS", 25)) * time.Second,
	}
	m.report = newReport(name,
		fmt.Sprintf("a tenant at rest (row 0), and while another one attacks as in test/isolation, for %s each", m.window),
		"row", "mounts", "mount p50 ms", "mount p99 ms", "of what it may be", "latest renewal s", "refresh s",
		"task p99 s", "controller MiB", "node MiB", "ended")
	m.measure(t, 0, isolation.Rest)
	for row := from; row <= to; row++ {
		m.measure(t, row, isolation.Attacks[row-1])
	}
	m.report.atMost("p99 of mounts by three times that at rest, or by a quarter of a second: the worst row", m.worst("of what it may be"), 1)
	m.report.atMost("latest renewal, s", m.worst("latest renewal s"), latestRenewal.Seconds())
	m.report.atMost("memory of a replica at its worst, MiB", m.worst("controller MiB"), containerLimit)
	m.report.atMost("memory of the node plugin at its worst, MiB", m.worst("node MiB"), containerLimit)
	m.report.atMost("processes that ended", m.worst("ended"), 0)
	m.report.atMost("rows that failed", float64(len(m.failures)), 0)
	m.report.publish(t)
	g.Expect(errors.Join(m.failures...)).NotTo(HaveOccurred())
}

// rowsToMeasure are those of BENCH_ROWS, and the name of what is found of them.
func rowsToMeasure(t *testing.T) (from, to int, name string) {
	t.Helper()
	from, to, name = 1, len(isolation.Attacks), "victim"
	if text := os.Getenv("BENCH_ROWS"); text != "" {
		_, err := fmt.Sscanf(text, "%d-%d", &from, &to)
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred(), "BENCH_ROWS must be FROM-TO")
		g.Expect(1 <= from && from <= to && to <= len(isolation.Attacks)).To(BeTrue(), "there are rows 1 to %d", len(isolation.Attacks))
		name += "-" + text
	}
	return from, to, name
}

// victimMeasurement is what was found so far.
type victimMeasurement struct {
	victim *isolation.Victim
	window time.Duration
	report *Report
	// atRest is the p99 of mounts while nothing else happens.
	atRest   time.Duration
	failures []error
}

// measure adds a row.
func (m *victimMeasurement) measure(t *testing.T, row int, attack isolation.Attack) {
	t.Helper()
	started := time.Now()
	result, err := m.victim.Run(t.Context(), attack, fmt.Sprintf("hostile-%d", row), m.window)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	mounts, late := result.Figures["mount"], result.Figures["renewal"].Worst()
	p99 := mounts.Percentile(0.99)
	if row == 0 {
		m.atRest = p99
	}
	allowed := max(3*m.atRest, tolerable)
	failed := slices.Concat(result.Failures, []error{m.victim.Calm(t.Context(), time.Minute)})
	if p99 > allowed {
		failed = append(failed, fmt.Errorf("p99 of mounts is %s, more than %s", p99, allowed))
	}
	if late > latestRenewal {
		failed = append(failed, fmt.Errorf("a renewal was %s late", late))
	}
	err = errors.Join(failed...)
	if err != nil {
		m.failures = append(m.failures, fmt.Errorf("row %d, %s: %w", row, attack.Name, err))
	}
	m.report.add(float64(row), float64(len(mounts.Samples)), milliseconds(mounts.Percentile(0.5)), milliseconds(p99),
		float64(p99)/float64(allowed), late.Seconds(), result.Figures["refresh"].Worst().Seconds(),
		result.Figures["task"].Percentile(0.99).Seconds(), float64(result.Controller)/mebibyte, float64(result.Node)/mebibyte,
		float64(len(result.Ends)))
	fmt.Printf("row %d, %.0f s: %s: %v; %s\n", row, time.Since(started).Seconds(), attack.Name, err, result.Seen)
}

// worst is the largest value of a column, of all rows but rest.
func (m *victimMeasurement) worst(column string) (value float64) {
	for _, row := range m.report.Rows {
		if row["row"] > 0 {
			value = max(value, row[column])
		}
	}
	return value
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
