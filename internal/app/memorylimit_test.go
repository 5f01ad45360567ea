package app

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
)

func TestTheCollectorKnowsTheContainersLimit(t *testing.T) {
	const mebi = int64(1 << 20)
	for _, row := range []struct {
		name, file, content, environment string
		reserved                         int64
		expected                         int64
	}{
		{"cgroup 2", "memory.max", "268435456\n", "", 0, 256 * mebi / 100 * 90},
		{"cgroup 1", "memory/memory.limit_in_bytes", "268435456\n", "", 0, 256 * mebi / 100 * 90},
		{"a reservation", "memory.max", "268435456\n", "", 64 * mebi, 256*mebi/100*90 - 64*mebi},
		{"a reservation of everything", "memory.max", "268435456\n", "", 256 * mebi, 256 * mebi / 100 * 90 / 2},
		{"no limit", "memory.max", "max\n", "", 0, math.MaxInt64},
		{"no limit in cgroup 1", "memory/memory.limit_in_bytes", "9223372036854771712\n", "", 0, math.MaxInt64},
		{"nonsense", "memory.max", "", "", 0, math.MaxInt64},
		{"no cgroup", "other", "1", "", 0, math.MaxInt64},
		{"the administrator's own", "memory.max", "268435456\n", "100MiB", 0, math.MaxInt64},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := NewWithT(t)
			before := debug.SetMemoryLimit(math.MaxInt64)
			t.Cleanup(func() { debug.SetMemoryLimit(before) })
			t.Setenv("GOMEMLIMIT", row.environment)
			path := filepath.Join(t.TempDir(), row.file)
			g.Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
			g.Expect(os.WriteFile(path, []byte(row.content), 0o600)).To(Succeed())
			root := path[:len(path)-len(row.file)]

			limitMemory(logr.Discard(), root, row.reserved)
			g.Expect(debug.SetMemoryLimit(-1)).To(Equal(row.expected))
		})
	}
}
