package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// programs are those of a measurement, and what they are called in a table.
var programs = []string{"kube-apiserver", "etcd", "vault", "sallyport", "measurement"}

// shares are the seconds of the processors' time that each of the programs used so far.
type shares map[string]float64

// processors reads what this process and those that it started have used. Source: proc_pid_stat(5).
func processors(t *testing.T) shares {
	t.Helper()
	g := NewWithT(t)
	own := strconv.Itoa(os.Getpid())
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	g.Expect(err).NotTo(HaveOccurred())
	used := shares{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(content), "(")
		name, rest, _ := cutLast(rest, ")")
		fields := strings.Fields(rest) // the first is the third of the manual
		switch {
		case file == "/proc/"+own+"/stat":
			name = "measurement"
		case fields[1] != own:
			continue
		}
		used[name] += ticks(g, fields).Seconds()
	}
	for _, program := range programs {
		g.Expect(used).To(HaveKey(program), fmt.Sprintf("no process %s was found", program))
	}
	return used
}

// since returns what each program used since an earlier look, in the order of programs.
func (s shares) since(before shares) []float64 {
	var used []float64
	for _, program := range programs {
		used = append(used, s[program]-before[program])
	}
	return used
}
