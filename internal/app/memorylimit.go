package app

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/go-logr/logr"

	"sallyport.dev/sallyport/internal/heap"
)

// cgroupRoot is where a container sees its own cgroup.
const cgroupRoot = "/sys/fs/cgroup"

// limitMemory tells the garbage collector of the container's memory limit, less what other things than the heap take of
// it, so that it works harder near the limit rather than let the kernel end the process. GOMEMLIMIT, if the
// administrator has set it, stands.
func limitMemory(log logr.Logger, root string, reserved int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, limited := cgroupLimit(root)
	if !limited {
		return
	}
	soft := softLimit(limit, reserved)
	debug.SetMemoryLimit(soft)
	log.Info("memory limit", "container", limit, "heap", soft)
}

// softLimit is what the Go runtime may use of a container's limit. A reservation that leaves too little is ignored:
// the collector would do nothing but collect.
func softLimit(limit, reserved int64) int64 {
	usable := limit / 100 * heap.Percent
	return max(usable-reserved, usable/2)
}

// cgroupLimit returns the memory limit of the cgroup at root, of version 2 or 1; false if it has none.
func cgroupLimit(root string) (limit int64, limited bool) {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		// Version 2 says max where there is no limit, version 1 the largest number of pages.
		bytes, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		return bytes, err == nil && bytes > 0 && bytes < math.MaxInt64/2
	}
	return 0, false
}
