package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	. "github.com/onsi/gomega"
)

// Report is what one measurement found.
type Report struct {
	Name    string            `json:"name"`
	About   string            `json:"about"`
	Time    time.Time         `json:"time"`
	Machine map[string]string `json:"machine"`
	// Command repeats it.
	Command string `json:"command"`
	// Columns name what is measured, in order; each row has a value for each.
	Columns []string             `json:"columns"`
	Rows    []map[string]float64 `json:"rows"`
	// Limits are what was promised of the figures.
	Limits []Limit `json:"limits,omitempty"`
}

// Limit is a promise, and whether it is held.
type Limit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	// Bound is the largest value that holds the promise, or the smallest one if AtLeast.
	Bound   float64 `json:"bound"`
	AtLeast bool    `json:"atLeast"`
	Held    bool    `json:"held"`
	// Goal is aimed at: to miss it is no error.
	Goal bool `json:"goal,omitempty"`
}

// atMost and atLeast add a limit. One that is not held fails the measurement when its report is published.
func (r *Report) atMost(name string, value, bound float64) {
	r.Limits = append(r.Limits, Limit{Name: name, Value: value, Bound: bound, Held: value <= bound})
}

func (r *Report) atLeast(name string, value, bound float64) {
	r.Limits = append(r.Limits, Limit{Name: name, Value: value, Bound: bound, AtLeast: true, Held: value >= bound})
}

// goal and goalAtLeast add what is aimed at, and fail nothing.
func (r *Report) goal(name string, value, bound float64) {
	r.atMost(name, value, bound)
	r.Limits[len(r.Limits)-1].Goal = true
}

func (r *Report) goalAtLeast(name string, value, bound float64) {
	r.atLeast(name, value, bound)
	r.Limits[len(r.Limits)-1].Goal = true
}

func newReport(name, about string, columns ...string) *Report {
	return &Report{Name: name, About: about, Time: time.Now().UTC().Truncate(time.Second), Machine: machine(), Columns: columns}
}

// add appends a row, with values in the order of the columns.
func (r *Report) add(values ...float64) {
	row := map[string]float64{}
	for i, column := range r.Columns {
		row[column] = values[i]
	}
	r.Rows = append(r.Rows, row)
}

// publish prints the tables and writes the JSON file. A limit that is not held is an error, but only then, so that all
// figures are there.
func (r *Report) publish(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	r.Command = command(t)
	fmt.Printf("\n%s: %s\n%s\n\n", r.Name, r.About, r.Machine["cpu"]+", "+r.Machine["cores"]+" cores, "+r.Machine["memory"]+", "+r.Machine["os"])
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, strings.Join(r.Columns, "\t")+"\t")
	for _, row := range r.Rows {
		for _, column := range r.Columns {
			_, _ = fmt.Fprintf(table, "%.4g\t", row[column])
		}
		_, _ = fmt.Fprintln(table)
	}
	g.Expect(table.Flush()).To(Succeed())
	r.printLimits(t)
	encoded, err := json.MarshalIndent(r, "", "  ")
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(outputDirectory(t), r.Name+".json")
	g.Expect(os.WriteFile(file, append(encoded, '\n'), 0o600)).To(Succeed())
	fmt.Printf("\nWritten to %s\n", file)
}

func (r *Report) printLimits(t *testing.T) {
	t.Helper()
	if len(r.Limits) == 0 {
		return
	}
	fmt.Println()
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "limit\tbound\tmeasured\t")
	for _, limit := range r.Limits {
		bound, held := "at most", "held"
		if limit.AtLeast {
			bound = "at least"
		}
		switch {
		case limit.Goal && limit.Held:
			held = "goal, reached"
		case limit.Goal:
			held = "goal, NOT reached"
		case !limit.Held:
			held = "NOT held"
			t.Errorf("%s is %.4g, and shall be %s %.4g", limit.Name, limit.Value, bound, limit.Bound)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s %.4g\t%.4g\t%s\n", limit.Name, bound, limit.Bound, limit.Value, held)
	}
	NewWithT(t).Expect(table.Flush()).To(Succeed())
}

// command is what measures this, with the settings that differ from those by default.
func command(t *testing.T) string {
	t.Helper()
	var words []string
	for _, setting := range os.Environ() {
		if strings.HasPrefix(setting, "BENCH_") && !strings.HasPrefix(setting, "BENCH_OUTPUT=") {
			words = append(words, setting)
		}
	}
	slices.Sort(words)
	return strings.Join(append(words, "hack/bench.sh", t.Name()), " ")
}

// outputDirectory is BENCH_OUTPUT, by default a directory of the test's own.
func outputDirectory(t *testing.T) string {
	t.Helper()
	if directory := os.Getenv("BENCH_OUTPUT"); directory != "" {
		NewWithT(t).Expect(os.MkdirAll(directory, 0o750)).To(Succeed())
		return directory
	}
	return t.TempDir()
}

// machine describes where it was measured.
func machine() map[string]string {
	return map[string]string{
		"cpu":    valueIn("/proc/cpuinfo", "model name"),
		"cores":  fmt.Sprint(runtime.NumCPU()),
		"memory": valueIn("/proc/meminfo", "MemTotal"),
		"os":     runtime.GOOS + "/" + runtime.GOARCH,
		"go":     runtime.Version(),
	}
}

// valueIn is what stands behind a key in one of the kernel's tables.
func valueIn(file, key string) string {
	content, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer func() { _ = content.Close() }()
	lines := bufio.NewScanner(content)
	for lines.Scan() {
		if name, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
