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

// TestMemoryIsChargedInFull compares what volumes are charged with what the kernel takes for them.
func TestMemoryIsChargedInFull(t *testing.T) {
	race.SkipMeasurement(t)
	g := NewWithT(t)
	cgroup, usage := os.Getenv(environmentCgroup), "memory.current"
	if cgroup == "" {
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
		return
	}
	if _, err := os.Stat(filepath.Join(cgroup, usage)); err != nil {
		usage = "memory.usage_in_bytes"
	}
	if _, err := os.Stat(filepath.Join(cgroup, usage)); err != nil {
		t.Skip("no memory controller")
	}
	g.Expect(os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o600)).To(Succeed())
	used := func() int64 {
		content, err := os.ReadFile(filepath.Join(cgroup, usage))
		g.Expect(err).NotTo(HaveOccurred())
		bytes, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		g.Expect(err).NotTo(HaveOccurred())
		return bytes
	}
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
		before := used()
		for i := range volumes {
			dir := store.Path(fmt.Sprint("csi-", i))
			g.Expect(store.Create(dir, "", volume.State{})).To(Succeed())
			t.Cleanup(func() { _ = mount.UnmountAll(mount.System(), dir) })
			_, err := store.WriteFiles(dir, nil, files)
			g.Expect(err).NotTo(HaveOccurred())
		}
		took, charged := (used()-before)/volumes, volume.SizeOf(files, volume.State{})
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
