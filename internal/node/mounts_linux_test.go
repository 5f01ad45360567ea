package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"sallyport.dev/sallyport/internal/node/mount"
	"sallyport.dev/sallyport/internal/node/revocation"
	"sallyport.dev/sallyport/internal/node/volume"
)

func TestPodSeesReadOnlyFilesThatChangeLive(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	pod := h.pod()
	inPod := "/proc/" + pod + "/root" + h.target()
	h.start(plugin{})
	h.g.Expect(h.publish()).To(Succeed())

	h.expectReadOnly(pod)
	content, err := os.ReadFile(inPod + "/password")
	h.g.Expect(err).NotTo(HaveOccurred())
	h.g.Expect(string(content)).To(Equal("old"))
	h.g.Expect(unix.Access(filepath.Join(inPod, "..", volume.StateFile), unix.F_OK)).NotTo(Succeed())

	h.setFiles(map[string]string{"type": "SQLORACLE", "password": "new"})
	h.g.Eventually(func() (string, error) {
		content, err := os.ReadFile(inPod + "/password")
		return string(content), err
	}).WithTimeout(45 * time.Second).Should(Equal("new"))

	many := map[string]string{"password": strings.Repeat("x", 300<<10)}
	for i := range 400 {
		many[fmt.Sprintf("file-%d", i)] = "content"
	}
	h.setFiles(many) // more and larger ones than the volume was mounted with
	h.g.Eventually(func() (int, error) {
		content, err := os.ReadFile(inPod + "/password")
		return len(content), err
	}).WithTimeout(45 * time.Second).Should(Equal(300 << 10))

	h.g.Expect(h.unpublish()).To(Succeed())
	h.expectNothingLeft()
	h.g.Expect(h.mounts(pod)).To(BeEmpty())
}

// expectReadOnly checks the mounts of a published volume as the plugin and a pod see them.
func (h *host) expectReadOnly(pod string) {
	h.t.Helper()
	for _, process := range []string{"self", pod} {
		mounts := h.mounts(process)
		h.g.Expect(mounts).To(HaveLen(2), "the volume's tmpfs and the pod's view of it")
		options := strings.Split(mounts[h.target()], ",")
		h.g.Expect(options).To(ContainElements("ro", "nosuid", "nodev", "noexec"), "as %s sees it", process)
		options = strings.Split(mounts[h.volumeDir()], ",")
		h.g.Expect(options).To(ContainElements("rw", "nosuid", "nodev", "noexec", HavePrefix("size="), HavePrefix("nr_inodes=")))
		inPod := "/proc/" + process + "/root" + h.target()
		for name, change := range map[string]error{
			"create": os.WriteFile(inPod+"/new", nil, 0o600),
			"change": os.WriteFile(inPod+"/password", nil, 0o600),
			"remove": os.Remove(inPod + "/password"),
		} {
			h.g.Expect(change).To(MatchError(syscall.EROFS), name)
		}
	}
}

// Detached mounts came with Linux 5.12, the sight of mount points with 5.8; a filter of the container's may refuse both.
func TestVolumesOfKernelsWithoutDetachedMounts(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	pod := h.pod()
	for _, refused := range []map[uint32]syscall.Errno{
		{unix.SYS_OPEN_TREE: unix.ENOSYS, unix.SYS_MOUNT_SETATTR: unix.ENOSYS, unix.SYS_MOVE_MOUNT: unix.ENOSYS, unix.SYS_STATX: unix.ENOSYS},
		{unix.SYS_OPEN_TREE: unix.EPERM},
		{unix.SYS_MOUNT_SETATTR: unix.ENOSYS},
		{unix.SYS_MOUNT_SETATTR: unix.EPERM},
		{unix.SYS_MOVE_MOUNT: unix.EPERM},
	} {
		h.start(plugin{Refuse: refused})
		h.g.Expect(h.publish()).To(Succeed())
		h.expectReadOnly(pod)
		h.g.Expect(h.publish()).To(Succeed(), "what is mounted is seen")
		h.g.Expect(h.unpublish()).To(Succeed())
		h.expectNothingLeft()
	}
}

// An unmount waits for all processors, for longer than all else takes that a publish does on the node.
func TestPublishUnmountsNothing(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	pod := h.pod()
	h.start(plugin{Refuse: map[uint32]syscall.Errno{unix.SYS_UMOUNT2: unix.EPERM}})
	h.g.Expect(h.publish()).To(Succeed())
	h.expectReadOnly(pod)
	h.start(plugin{})
	h.g.Expect(h.unpublish()).To(Succeed())
	h.expectNothingLeft()
}

// Versions before made the pod's mount in a directory of the volume, as it is still made on older kernels. They look
// after the volumes of this one when an upgrade is taken back, and this one after theirs.
func TestVolumesChangeHandsBetweenVersions(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	pod := h.pod()
	before, now := plugin{Refuse: map[uint32]syscall.Errno{unix.SYS_OPEN_TREE: unix.ENOSYS}}, plugin{}
	for _, order := range [][]plugin{{before, now}, {now, before}} {
		h.setFiles(map[string]string{"password": "old"})
		h.start(order[0])
		h.g.Expect(h.publish()).To(Succeed())
		mounts := h.mounts(pod)
		h.g.Expect(os.ReadDir(filepath.Join(h.volumeDir(), "staging"))).To(BeEmpty(), "it is there, to mount again")

		h.start(order[1])
		h.g.Expect(h.publish()).To(Succeed())
		h.g.Expect(h.mounts(pod)).To(Equal(mounts), "recovered, not mounted anew")
		h.setFiles(map[string]string{"password": "new"})
		h.g.Eventually(func() (string, error) {
			content, err := os.ReadFile("/proc/" + pod + "/root" + h.target() + "/password")
			return string(content), err
		}).WithTimeout(45 * time.Second).Should(Equal("new"))

		h.g.Expect(unix.Unmount(h.target(), 0)).To(Succeed())
		h.g.Expect(h.publish()).To(Succeed(), "mounted again")
		h.expectReadOnly(pod)
		h.g.Expect(h.unpublish()).To(Succeed())
		h.expectNothingLeft()
		h.g.Expect(h.mounts(pod)).To(BeEmpty())
	}
}

func TestMountPoints(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	mounter := mount.System()
	mounted, plain := filepath.Join(h.dir, "mounted"), filepath.Join(h.dir, "plain")
	h.g.Expect(os.Mkdir(plain, 0o700)).To(Succeed())
	h.g.Expect(os.Mkdir(mounted, 0o700)).To(Succeed())
	h.g.Expect(mounter.BindReadOnly(plain, "", mounted)).To(Succeed())
	h.g.Expect(os.Symlink(mounted, filepath.Join(h.dir, "link"))).To(Succeed())
	h.g.Expect(os.Symlink(h.dir, filepath.Join(h.dir, "parent"))).To(Succeed())
	for path, want := range map[string]bool{
		"mounted": true, "plain": false, "link": false, "parent/mounted": true, "parent/plain": false, "nowhere": false, "nowhere/at/all": false,
	} {
		got, err := mounter.Mounted(filepath.Join(h.dir, path))
		h.g.Expect(err).NotTo(HaveOccurred(), path)
		h.g.Expect(got).To(Equal(want), path)
	}
	h.g.Expect(mount.UnmountAll(mounter, mounted)).To(Succeed())
	h.g.Expect(mounter.Mounted(mounted)).To(BeFalse())
	err := mounter.BindReadOnly(plain, "", filepath.Join(h.dir, "nowhere"))
	h.g.Expect(err).To(MatchError(fs.ErrNotExist))
	h.g.Expect(mounter.BindReadOnly(plain, "", mounted)).To(Succeed(), "a missing directory is no sign of an old kernel")
}

func TestPluginKilledAtEveryStepOfPublish(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	h.start(plugin{}) // makes what outlives it
	crashes := []plugin{{KillInBind: "staged"}, {KillInBind: "detached"}}
	for step := 1; ; step++ {
		crash := plugin{KillAfter: step}
		if step <= len(crashes) {
			h.killedIn(crashes[step-1])
		}
		if !h.killedIn(crash) {
			h.g.Expect(step).To(BeNumerically(">", 12))
			break
		}
	}
}

// killedIn lets the plugin die in a publish and a new one take over. It returns false if the plugin lived through it.
func (h *host) killedIn(crash plugin) bool {
	for _, again := range []bool{true, false} {
		h.start(crash)
		if err := h.publish(); err == nil {
			h.start(plugin{}) // the step would come in what follows
			h.g.Expect(h.unpublish()).To(Succeed())
			h.expectNothingLeft()
			return false
		}
		h.start(plugin{})
		if again {
			h.g.Expect(h.publish()).To(Succeed())
			content, err := os.ReadFile(filepath.Join(h.target(), "password"))
			h.g.Expect(err).NotTo(HaveOccurred())
			h.g.Expect(string(content)).To(Equal("old"))
			h.g.Expect(h.mounts("self")).To(HaveLen(2))
		}
		h.g.Expect(h.unpublish()).To(Succeed())
		h.expectNothingLeft()
	}
	return true
}

func TestPluginThatIsKilledLeavesThePodItsFiles(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	h.start(plugin{})
	h.g.Expect(h.publish()).To(Succeed())
	before := h.mounts("self")
	h.end()
	h.g.Expect(h.mounts("self")).To(Equal(before))
	h.setFiles(map[string]string{"password": "new"})

	h.start(plugin{})
	h.g.Expect(h.mounts("self")).To(Equal(before), "recovered, not mounted anew")
	h.g.Expect(h.publish()).To(Succeed())

	h.g.Eventually(func() (string, error) {
		content, err := os.ReadFile(h.target() + "/password")
		return string(content), err
	}).WithTimeout(45 * time.Second).Should(Equal("new"))
	h.g.Expect(h.unpublish()).To(Succeed())
	h.expectNothingLeft()
}

func TestTheSpoolOutlivesThePluginInMemory(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	away, released := filepath.Join(h.dir, "away"), filepath.Join(h.dir, "released")
	h.start(plugin{})
	h.g.Expect(os.WriteFile(away, nil, 0o600)).To(Succeed())
	h.g.Expect(h.publish()).To(Succeed())
	h.g.Expect(h.unpublish()).To(Succeed())
	h.expectNothingLeft()

	info, err := os.Stat(h.spoolDir())
	h.g.Expect(err).NotTo(HaveOccurred())
	h.g.Expect(info.Mode().Perm()).To(BeEquivalentTo(0o700))
	var filesystem unix.Statfs_t
	h.g.Expect(unix.Statfs(h.spoolDir(), &filesystem)).To(Succeed())
	h.g.Expect(filesystem.Type).To(BeEquivalentTo(unix.TMPFS_MAGIC))
	h.g.Expect(filesystem.Blocks * uint64(filesystem.Bsize)).To(BeEquivalentTo(revocation.SpoolSize))
	h.g.Expect(os.ReadDir(h.spoolDir())).To(HaveLen(1))

	h.end()
	h.g.Expect(os.ReadDir(h.spoolDir())).To(HaveLen(1))
	h.g.Expect(os.Remove(away)).To(Succeed())
	h.start(plugin{})
	h.g.Eventually(func() ([]byte, error) { return os.ReadFile(released) }).WithTimeout(45 * time.Second).
		Should(ContainSubstring(secretLease + "-1;"))
	h.g.Eventually(func() ([]os.DirEntry, error) { return os.ReadDir(h.spoolDir()) }).Should(BeEmpty())
}

func TestSharedMounts(t *testing.T) {
	h := newHost(t)
	if h == nil {
		return
	}
	shared, err := mount.System().Shared(filepath.Join(h.dir, "pods"))
	h.g.Expect(err).NotTo(HaveOccurred())
	h.g.Expect(shared).To(BeTrue())
	h.g.Expect(unix.Mount("", h.dir, "", unix.MS_PRIVATE, "")).To(Succeed())
	shared, err = mount.System().Shared(filepath.Join(h.dir, "pods"))
	h.g.Expect(err).NotTo(HaveOccurred())
	h.g.Expect(shared).To(BeFalse())
	_, err = mount.System().Shared(filepath.Join(h.dir, "nowhere"))
	h.g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue())
}
