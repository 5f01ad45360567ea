package scale

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"text/tabwriter"
	"time"

	. "github.com/onsi/gomega"
)

// report is what a run found.
type report struct {
	Name   string     `json:"name"`
	Time   time.Time  `json:"time"`
	Cores  int        `json:"cores"`
	Go     string     `json:"go"`
	Size   size       `json:"size"`
	Phases []phase    `json:"phases"`
	Each   []unitCost `json:"each"`
	Limits []limit    `json:"limits"`
}

// phase is something that happened, and what was counted meanwhile.
type phase struct {
	Name   string `json:"name"`
	Counts counts `json:"counts"`
}

// unitCost is what one of something costs.
type unitCost struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// limit is a promise, and whether it is held.
type limit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Bound float64 `json:"atMost"`
	Held  bool    `json:"held"`
}

func newReport(s size) *report {
	return &report{Name: "scale", Time: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Go: runtime.Version(), Size: s}
}

// each adds what one of something costs.
func (r *report) each(name string, value float64) { r.Each = append(r.Each, unitCost{name, value}) }

// atMost adds a limit. One that is not held fails the test when the report is published.
func (r *report) atMost(name string, value, bound float64) {
	r.Limits = append(r.Limits, limit{Name: name, Value: value, Bound: bound, Held: value <= bound})
}

// quantities are the rows of the table.
var quantities = []string{
	seconds, refreshes, refreshFailed, resolves, volumeReviews, podReads, otherReads, apiWrites, leaseWrites, vaultReads, vaultRequests,
	controllerCPU, apiServerCPU, nodesCPU, controllerSize, resolvesPeak, apiPeak, vaultPeak,
}

// publish prints the tables and writes the JSON file.
func (r *report) publish(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	fmt.Printf("\n%s, %d cores\n\n", r.Size, r.Cores)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, p := range r.Phases {
		_, _ = fmt.Fprintf(table, "\t%s", p.Name)
	}
	_, _ = fmt.Fprintln(table, "\t")
	for _, quantity := range quantities {
		_, _ = fmt.Fprint(table, quantity)
		for _, p := range r.Phases {
			_, _ = fmt.Fprintf(table, "\t%.5g", p.Counts[quantity])
		}
		_, _ = fmt.Fprintln(table, "\t")
	}
	g.Expect(table.Flush()).To(Succeed())
	fmt.Println()
	for _, c := range r.Each {
		fmt.Printf("%s: %.4g\n", c.Name, c.Value)
	}
	for _, l := range r.Limits {
		fmt.Printf("\n%s: %.4g, at most %.4g", l.Name, l.Value, l.Bound)
		if !l.Held {
			t.Errorf("%s is %.4g, and shall be at most %.4g", l.Name, l.Value, l.Bound)
		}
	}
	fmt.Printf("\n\nWritten to %s\n", r.write(t))
}

// write writes the JSON file and returns its name.
func (r *report) write(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	encoded, err := json.MarshalIndent(r, "", "  ")
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(outputDirectory(t), r.Name+".json")
	g.Expect(os.WriteFile(file, append(encoded, '\n'), 0o600)).To(Succeed())
	return file
}

// outputDirectory is SCALE_OUTPUT, by default a directory of the test's own.
func outputDirectory(t *testing.T) string {
	t.Helper()
	if directory := os.Getenv("SCALE_OUTPUT"); directory != "" {
		NewWithT(t).Expect(os.MkdirAll(directory, 0o750)).To(Succeed())
		return directory
	}
	return t.TempDir()
}
