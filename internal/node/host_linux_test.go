package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/container-storage-interface/spec/lib/go/csi"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	clocktesting "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/mount"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

// The tests with a host mount for real. Each runs in a process of its own, in a mount namespace of its own, with the
// plugin as one more process in it that can be killed.
const (
	environmentNamespace = "SALLYPORT_TEST_NAMESPACE"
	environmentPlugin    = "SALLYPORT_TEST_PLUGIN"
)

// plugin says what the plugin's process of a test does.
type plugin struct {
	KubeletDir string
	// KillAfter is the number of the step after which the process kills itself; 0 for never.
	KillAfter int
	// KillInBind kills it with the mount for the pod half made: "detached", or "staged" as older versions and kernels do.
	KillInBind string
	// Refuse are system calls, by number, that the kernel refuses it, with the error.
	Refuse map[uint32]syscall.Errno
	// Files is where the content of the Connection lies; it is read for every request. What is revoked is noted
	// beside it, but not while there is a file "away".
	Files string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(environmentPlugin); text != "" {
		os.Exit(runPlugin(text))
	}
	os.Exit(m.Run())
}

// runPlugin is the plugin's process.
func runPlugin(text string) int {
	var p plugin
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	counted := &steps{kill: die}
	mounter := mount.System()
	if p.KillInBind != "" {
		mounter = dyingMounter{mounter, die, p.KillInBind == "detached"}
	}
	if err := refuse(p.Refuse); err != nil {
		panic(err)
	}
	driver, err := New(Config{
		NodeName: "node-1", Registry: prometheus.NewRegistry(), KubeletDir: p.KubeletDir,
		Resolver: &fileResolver{path: p.Files},
		Mounter:  steppedMounter{counted, mounter}, filesystem: steppedFilesystem{counted, volume.OSFilesystem{}},
	})
	if err != nil {
		panic(err)
	}
	counted.killAfterStep(p.KillAfter)
	if err := driver.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

// refuse installs a filter (seccomp(2)) for all threads of this process.
func refuse(calls map[uint32]syscall.Errno) error {
	if len(calls) == 0 {
		return nil
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the number of the call
	for call, with := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if failed != 0 {
		return failed
	}
	return nil
}

// dyingMounter dies with the mount for the pod half made.
type dyingMounter struct {
	mount.Mounter
	die      func()
	detached bool
}

func (m dyingMounter) BindReadOnly(source, staging, _ string) error {
	if m.detached {
		if _, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE); err != nil {
			return err
		}
	} else if err := unix.Mount(source, staging, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	m.die()
	return nil
}

// fileResolver answers with what a file says.
type fileResolver struct {
	fakeResolver
	path string
}

func (r *fileResolver) Resolve(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	content, err := os.ReadFile(r.path)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	if err := json.Unmarshal(content, &files); err != nil {
		return nil, err
	}
	r.setFiles(files)
	r.issuesLeases = true
	r.refresh = time.Second.Milliseconds()
	return r.fakeResolver.Resolve(ctx, request)
}

func (r *fileResolver) ResolveTogether(ctx context.Context, request *resolverv1.ResolveRequest) (*resolverv1.ResolveResponse, error) {
	return r.Resolve(ctx, request)
}

func (r *fileResolver) Release(_ context.Context, request *resolverv1.ReleaseRequest) error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(r.path), "away")); err == nil {
		return errNoResolver
	}
	return os.WriteFile(filepath.Join(filepath.Dir(r.path), "released"), request.GetLeases(), 0o600)
}

// host is a machine's kubelet directory on a shared mount, and the kubelet's side of CSI.
type host struct {
	g     *WithT
	t     *testing.T
	dir   string
	calls csi.NodeClient
	end   func() // kills the plugin
}

// newHost returns nil in the process that only starts the one in which the test runs.
func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	if os.Getenv(environmentNamespace) == "" {
		inner := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		inner.Env = append(os.Environ(), environmentNamespace+"=1")
		// Also makes every mount of the new namespace private, so that nothing of this gets out.
		inner.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		output, err := inner.CombinedOutput()
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(output))
		return nil
	}
	g := NewWithT(t)
	dir, err := os.MkdirTemp("", "sallyport")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(unix.Mount("tmpfs", dir, "tmpfs", 0, "")).To(Succeed())
	g.Expect(unix.Mount("", dir, "", unix.MS_SHARED, "")).To(Succeed())
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(dir)
	})
	h := &host{g: g, t: t, dir: dir, end: func() {}}
	g.Expect(os.MkdirAll(filepath.Dir(h.target()), 0o750)).To(Succeed())
	h.setFiles(map[string]string{"type": "SQLORACLE", "password": "old"})
	return h
}

func (h *host) setFiles(files map[string]string) {
	content, err := json.Marshal(files)
	h.g.Expect(err).NotTo(HaveOccurred())
	h.g.Expect(os.WriteFile(h.dir+"/content.new", content, 0o600)).To(Succeed())
	h.g.Expect(os.Rename(h.dir+"/content.new", h.dir+"/content")).To(Succeed())
}

func (h *host) target() string {
	return filepath.Join(h.dir, "pods/uid-1/volumes/kubernetes.io~csi/db/mount")
}

// start starts the plugin's process, in the mount namespace of this one.
func (h *host) start(p plugin) {
	h.t.Helper()
	h.end()
	p.KubeletDir, p.Files = h.dir, h.dir+"/content"
	text, err := json.Marshal(p)
	h.g.Expect(err).NotTo(HaveOccurred())
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), environmentPlugin+"="+string(text))
	process.Stderr = os.Stderr
	h.g.Expect(process.Start()).To(Succeed())
	socket := filepath.Join(h.dir, "plugins", v1alpha1.DriverName, "csi.sock")
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	h.g.Expect(err).NotTo(HaveOccurred())
	h.calls = csi.NewNodeClient(connection)
	h.end = func() {
		_ = connection.Close()
		_ = process.Process.Kill()
		_ = process.Wait()
		h.end = func() {}
	}
	h.t.Cleanup(h.end)
	h.g.Eventually(func() error {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			_ = connection.Close()
		}
		return err
	}).WithTimeout(45 * time.Second).Should(Succeed())
}

func (h *host) publish() error {
	n := &testNode{t: h.t, g: h.g, dir: h.dir, clock: clocktesting.NewFakeClock(time.Now())}
	_, err := h.calls.NodePublishVolume(h.t.Context(), n.request())
	return err
}

func (h *host) unpublish() error {
	_, err := h.calls.NodeUnpublishVolume(h.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: h.target()})
	return err
}

func (h *host) volumeDir() string {
	return filepath.Join(h.dir, "plugins", v1alpha1.DriverName, "volumes", volumeID)
}

func (h *host) spoolDir() string {
	return filepath.Join(h.dir, "plugins", v1alpha1.DriverName, "releases")
}

// mounts lists the mounts below the kubelet's directory as the process sees them, with their options, but not the
// plugin's own.
func (h *host) mounts(process string) map[string]string {
	file, err := os.Open("/proc/" + process + "/mountinfo")
	h.g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = file.Close() }()
	mounts := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if strings.HasPrefix(fields[4], h.dir+"/") && fields[4] != h.spoolDir() {
			mounts[fields[4]] = fields[5] + "," + fields[len(fields)-1]
		}
	}
	return mounts
}

func (h *host) expectNothingLeft() {
	h.t.Helper()
	h.g.Expect(h.mounts("self")).To(BeEmpty())
	entries, err := os.ReadDir(filepath.Join(h.dir, "plugins", v1alpha1.DriverName, "volumes"))
	h.g.Expect(err).NotTo(HaveOccurred())
	h.g.Expect(entries).To(BeEmpty())
	_, err = os.Lstat(h.target())
	h.g.Expect(err).To(MatchError(fs.ErrNotExist))
}

// pod starts a process in a mount namespace that gets what is mounted later, as the host's and a pod's do, and returns
// its ID.
func (h *host) pod() string {
	process := exec.Command("/proc/self/exe", "-test.run=^TestThatOnlyWaits$")
	process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	process.Env = append(os.Environ(), "SALLYPORT_TEST_WAIT=1")
	h.g.Expect(process.Start()).To(Succeed())
	h.t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	return strconv.Itoa(process.Process.Pid)
}

// TestThatOnlyWaits is a process for its mount namespace's sake.
func TestThatOnlyWaits(*testing.T) {
	if os.Getenv("SALLYPORT_TEST_WAIT") != "" {
		time.Sleep(time.Minute)
	}
}
