package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const mebibyte = 1 << 20

// resident is the memory in MiB that a process has in RAM; files on a tmpfs that it wrote are not part of it.
func resident(t *testing.T, process *os.Process) float64 {
	t.Helper()
	return memory(t, process, "VmRSS")
}

// highest is the most that it ever had.
func highest(t *testing.T, process *os.Process) float64 {
	t.Helper()
	return memory(t, process, "VmHWM")
}

func memory(t *testing.T, process *os.Process, key string) float64 {
	t.Helper()
	text, _, _ := strings.Cut(valueIn(fmt.Sprintf("/proc/%d/status", process.Pid), key), " ")
	kibibytes, err := strconv.ParseFloat(text, 64)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return kibibytes / 1024
}

// processorTime is what a process used of the processors so far.
func processorTime(t *testing.T, process *os.Process) time.Duration {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.Pid))
	g.Expect(err).NotTo(HaveOccurred())
	return ticks(g, strings.Fields(string(content[strings.LastIndex(string(content), ")")+1:]))) // the name in parentheses may hold spaces
}

// ticks adds up the time in user mode and in the kernel, in hundredths of a second, from the fields of /proc/PID/stat
// behind the name. Source: proc_pid_stat(5), fields 14 and 15.
func ticks(g Gomega, fields []string) time.Duration {
	var hundredths int
	for _, field := range fields[11:13] {
		number, err := strconv.Atoi(field)
		g.Expect(err).NotTo(HaveOccurred())
		hundredths += number
	}
	return time.Duration(hundredths) * 10 * time.Millisecond
}

// usage is what a process takes while it is watched.
type usage struct {
	process *os.Process
	started time.Time
	before  time.Duration
	peak    float64
}

func watchProcess(t *testing.T, process *os.Process) *usage {
	t.Helper()
	return &usage{process: process, started: time.Now(), before: processorTime(t, process), peak: resident(t, process)}
}

func (u *usage) look(t *testing.T) {
	t.Helper()
	u.peak = max(u.peak, resident(t, u.process))
}

// cpu is the share of one core in percent.
func (u *usage) cpu(t *testing.T) float64 {
	t.Helper()
	return float64(processorTime(t, u.process)-u.before) / float64(time.Since(u.started)) * 100
}
