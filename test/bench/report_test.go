package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
	// Columns name what is measured, in order; each row has a value for each.
	Columns []string             `json:"columns"`
	Rows    []map[string]float64 `json:"rows"`
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

// publish prints the table and writes the JSON file.
func (r *Report) publish(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
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
	encoded, err := json.MarshalIndent(r, "", "  ")
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(outputDirectory(t), r.Name+".json")
	g.Expect(os.WriteFile(file, append(encoded, '\n'), 0o600)).To(Succeed())
	fmt.Printf("\nWritten to %s\n", file)
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
