package env

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// Cgroup is a group of processes with a memory limit, as a container runtime makes one for a container. Files on a
// tmpfs that its processes wrote are charged to it, and so is what the kernel keeps for them.
type Cgroup struct {
	dir string
	// unified is cgroup v2. In v1 the memory controller has a hierarchy of its own, and other names for the same files.
	unified bool
}

// NewCgroup makes one with a memory limit in bytes. Close removes it when its processes have ended.
func NewCgroup(name string, limit int64) (*Cgroup, error) {
	var kind unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &kind); err != nil {
		return nil, err
	}
	c := &Cgroup{dir: filepath.Join(cgroupRoot, "memory", name)}
	files := map[string]string{"memory.limit_in_bytes": strconv.FormatInt(limit, 10)}
	if c.unified = kind.Type == unix.CGROUP2_SUPER_MAGIC; c.unified {
		c.dir = filepath.Join(cgroupRoot, name)
		files = map[string]string{"memory.max": strconv.FormatInt(limit, 10), "memory.swap.max": "0"}
		control := filepath.Join(cgroupRoot, "cgroup.subtree_control")
		if err := os.WriteFile(control, []byte("+memory"), 0o600); err != nil {
			return nil, fmt.Errorf("the memory controller cannot be used here: %w", err)
		}
	}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, err
	}
	for file, value := range files {
		err := os.WriteFile(filepath.Join(c.dir, file), []byte(value), 0o600)
		if err != nil && (file != "memory.swap.max" || !errors.Is(err, os.ErrNotExist)) { // a kernel without swap
			return nil, errors.Join(err, os.Remove(c.dir))
		}
	}
	return c, nil
}

// Close removes the group. What its processes left on a tmpfs goes on counting for the parent.
func (c *Cgroup) Close() error {
	var err error
	for range 50 { // processes that were killed take a moment to leave
		if err = os.Remove(c.dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// procs is the file into which a process writes its ID to enter.
func (c *Cgroup) procs() string { return filepath.Join(c.dir, "cgroup.procs") }

// Used is how many bytes the group has that the kernel cannot take back: those of the programs, of files on a tmpfs,
// and the kernel's own.
func (c *Cgroup) Used() int64 {
	if c.unified {
		return c.stat("memory.stat", "anon") + c.stat("memory.stat", "shmem") + c.stat("memory.stat", "kernel")
	}
	kernel, _ := os.ReadFile(filepath.Join(c.dir, "memory.kmem.usage_in_bytes"))
	bytes, _ := strconv.ParseInt(strings.TrimSpace(string(kernel)), 10, 64)
	return c.stat("memory.stat", "rss") + c.stat("memory.stat", "shmem") + bytes
}

// Kills is how many processes the kernel has ended because the group had no memory left.
func (c *Cgroup) Kills() int64 {
	if c.unified {
		return c.stat("memory.events", "oom_kill")
	}
	return c.stat("memory.oom_control", "oom_kill")
}

// stat is a number in a file of lines of "name number".
func (c *Cgroup) stat(file, name string) int64 {
	content, err := os.Open(filepath.Join(c.dir, file))
	if err != nil {
		return 0
	}
	defer func() { _ = content.Close() }()
	lines := bufio.NewScanner(content)
	for lines.Scan() {
		if key, value, _ := strings.Cut(lines.Text(), " "); key == name {
			number, _ := strconv.ParseInt(value, 10, 64)
			return number
		}
	}
	return 0
}
