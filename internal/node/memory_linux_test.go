package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/internal/node/mount"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
	"sallyport.dev/sallyport/test/race"
)

const environmentCgroup = "SALLYPORT_TEST_CGROUP"

// cgroup is the group of this process.
type cgroup struct{ dir, usage, limit string }

// inCgroup runs the test once more as a process in a cgroup and a mount namespace of its own, with a memory limit if
// there is one; the process gets its cgroup, and whoever started it nil.
func inCgroup(t *testing.T, limit int64) *cgroup {
	t.Helper()
	race.SkipMeasurement(t)
	g := NewWithT(t)
	c := &cgroup{dir: os.Getenv(environmentCgroup), usage: "memory.current", limit: "memory.max"}
	if c.dir == "" {
		root := "/sys/fs/cgroup"
		if _, err := os.Stat(root + "/memory"); err == nil {
			root += "/memory"
		}
		dir, err := os.MkdirTemp(root, "sallyport-test-")
		if os.Getuid() != 0 || err != nil {
			t.Skip("only root may make a cgroup")
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		inner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		inner.Env = append(os.Environ(), environmentCgroup+"="+dir)
		inner.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		output, err := inner.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		return nil
	}
	if _, err := os.Stat(filepath.Join(c.dir, c.usage)); err != nil {
		c.usage, c.limit = "memory.usage_in_bytes", "memory.limit_in_bytes"
	}
	if _, err := os.Stat(filepath.Join(c.dir, c.usage)); err != nil {
		t.Skip("no memory controller")
	}
	g.Expect(os.WriteFile(filepath.Join(c.dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)).To(Succeed())
	if limit > 0 {
		g.Expect(os.WriteFile(filepath.Join(c.dir, c.limit), []byte(strconv.FormatInt(limit, 10)), 0o600)).To(Succeed())
	}
	return c
}

// used is what the cgroup takes.
func (c *cgroup) used(t *testing.T) int64 {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir, c.usage))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	bytes, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return bytes
}

// TestUnmountingWorksWithMemoryNearlyFull: a plugin that cannot unmount keeps the memory that it lacks.
func TestUnmountingWorksWithMemoryNearlyFull(t *testing.T) {
	const limit, volumes, left = 256 << 20, 20, 1 << 20 // the limit is that of config/node
	c := inCgroup(t, limit)
	if c == nil {
		return
	}
	g := NewWithT(t)
	debug.SetMemoryLimit(limit / 4)
	store := volume.NewStore(t.TempDir(), volume.OSFilesystem{}, mount.System(), clock.RealClock{})
	var files []*resolverv1.File
	for i := range 50 {
		files = append(files, &resolverv1.File{Path: fmt.Sprint(i), Content: make([]byte, 10_000)})
	}
	target := func(i int) string { return filepath.Join(t.TempDir(), fmt.Sprint(i), "mount") }
	targets := map[string]string{}
	for i := range volumes {
		dir := store.Path(fmt.Sprint("csi-", i))
		targets[dir] = target(i)
		g.Expect(os.MkdirAll(filepath.Dir(targets[dir]), 0o750)).To(Succeed())
		g.Expect(store.Create(dir, "", volume.State{})).To(Succeed())
		_, err := store.WriteFiles(dir, store.NewDataDir(), volume.Ownership{}, files)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(store.MountForPod(dir, targets[dir])).To(Succeed())
	}
	filler := t.TempDir()
	g.Expect(mount.System().Tmpfs(filler, mount.TmpfsOptions{Size: limit, Inodes: 100})).To(Succeed())
	defer func() { _ = mount.UnmountAll(mount.System(), filler) }()
	file, err := os.Create(filepath.Join(filler, "filler"))
	g.Expect(err).NotTo(HaveOccurred())
	debug.FreeOSMemory()
	for piece := make([]byte, left/4); c.used(t) < limit-left; {
		_, err := file.Write(piece)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(c.used(t)).To(BeNumerically(">", limit-2*left))
	for dir, target := range targets {
		g.Expect(store.Remove(dir, target)).To(Succeed())
	}
	g.Expect(c.used(t)).To(BeNumerically("<", limit-volumes*500_000*3/4), "what they took is free again")
	g.Expect(file.Close()).To(Succeed())
}

// TestMemoryIsChargedInFull compares what volumes are charged with what the kernel takes for them.
func TestMemoryIsChargedInFull(t *testing.T) {
	c := inCgroup(t, 0)
	if c == nil {
		return
	}
	g := NewWithT(t)
	for _, test := range []struct {
		files, name, size int
	}{{1, 5, 5}, {500, 12, 0}, {500, 12, 10}, {500, 100, 0}, {500, 253, 0}, {500, 253, 10}, {100, 12, 8000}, {1, 5, 1 << 20}} {
		var files []*resolverv1.File
		for i := range test.files {
			name := fmt.Sprintf("%0*d", test.name, i)
			files = append(files, &resolverv1.File{Path: name, Content: []byte(strings.Repeat("x", test.size))})
		}
		const volumes = 10
		store := volume.NewStore(t.TempDir(), volume.OSFilesystem{}, mount.System(), clock.RealClock{})
		debug.FreeOSMemory() // garbage of the case before is no volume's
		before := c.used(t)
		for i := range volumes {
			dir := store.Path(fmt.Sprint("csi-", i))
			g.Expect(store.Create(dir, "", volume.State{})).To(Succeed())
			t.Cleanup(func() { _ = mount.UnmountAll(mount.System(), dir) })
			_, err := store.WriteFiles(dir, store.NewDataDir(), volume.Ownership{}, files)
			g.Expect(err).NotTo(HaveOccurred())
		}
		took, charged := (c.used(t)-before)/volumes, volume.SizeOf(files, volume.State{})
		t.Logf("%+v: took %d, charged %d", test, took, charged)
		g.Expect(took).To(BeNumerically("<=", charged), "%+v", test)
	}
}

func TestTheBudgetFitsTheContainer(t *testing.T) {
	g := NewWithT(t)
	const mebi = 1 << 20
	g.Expect(FittingBudget(DefaultMemoryBudget, 256*mebi)).To(BeEquivalentTo(DefaultMemoryBudget), "as shipped")
	g.Expect(FittingBudget(1000*mebi, 256*mebi) + MemoryBesideBudget).To(BeNumerically("<=", 116*mebi))
	g.Expect(FittingBudget(DefaultMemoryBudget, 100*mebi)).To(BeNumerically("<", 32*mebi))
	g.Expect(FittingBudget(DefaultMemoryBudget, 10*mebi)).To(BeEquivalentTo(1))
	g.Expect(MemoryBesideBudget).To(BeNumerically("<", 16*mebi))
}
