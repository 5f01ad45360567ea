package e2e

import (
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/test/builder"
)

// The rows of "What a container sees after a rotation" in docs/reference/connection.md.
var _ = Describe("After a rotation", Ordered, func() {
	var (
		t             *tenant
		pod           *corev1.Pod
		first, second string // values of the password
		held          *watcher
	)

	rotate := func(ctx context.Context) string {
		value := newSecret("rotated")
		t.put(ctx, "db", map[string]any{"password": value})
		Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(eventual).Should(Equal(value))
		return value
	}
	seen := func(container string, path ...string) string {
		return filepath.Join(append([]string{"/proc", strconv.Itoa(processOf(pod, container))}, path...)...)
	}
	content := func(path string) string {
		GinkgoHelper()
		found, err := os.ReadFile(path)
		Expect(err).NotTo(HaveOccurred())
		return string(found)
	}

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		first = newSecret("first")
		t.put(ctx, "db", map[string]any{"password": first})
		value := map[string]any{"host": "db.example.com", "password": "vault.secret(password)"}
		create(ctx, t.connection("db", value, t.secretAt("db")))
		pod = t.pod("db")
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
		single := corev1.VolumeMount{Name: builder.VolumeName, MountPath: "/single", SubPath: "password"}
		for name, command := range map[string]string{
			"single": "exec sleep 3600",
			"env":    `PASSWORD=$(cat /connection/password); export PASSWORD; exec sleep 3600`,
			"open":   "exec 3</connection/password; exec sleep 3600",
			"root":   "cd /connection; exec sleep 3600",
			"inside": "cd /connection/..data/; exec sleep 3600",
		} {
			container := pod.Spec.Containers[0]
			container.Name, container.Command = name, []string{"/bin/sh", "-c", command}
			container.VolumeMounts = append(slices.Clone(container.VolumeMounts), single)
			pod.Spec.Containers = append(pod.Spec.Containers, container)
		}
		create(ctx, pod)
		Eventually(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			g.Expect(pod.Status.ContainerStatuses).To(HaveLen(len(pod.Spec.Containers)))
			for i := range pod.Status.ContainerStatuses {
				g.Expect(pod.Status.ContainerStatuses[i].Ready).To(BeTrue(), pod.Status.ContainerStatuses[i].Name)
			}
		}).WithTimeout(eventual).Should(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(content(seen("env", "environ"))).To(ContainSubstring("PASSWORD=" + first))
			g.Expect(seen("open", "fd", "3")).To(BeAnExistingFile())
			g.Expect(content(seen("inside", "cwd", "password"))).To(Equal(first))
		}).WithTimeout(soon).Should(Succeed())
		held = newWatcher(inPod(pod, mountPath))
		second = rotate(ctx)
	}, NodeTimeout(2*eventual))

	It("a mounted volume has the new value", func() {
		expectFile(pod, "password", second)
		expectFile(pod, "host", "db.example.com")
	})

	It("a subPath of a running container has the former value", func() {
		Expect(content(seen("single", "root", "single"))).To(Equal(first))
	})

	It("the environment of a process has the former value", func() {
		Expect(content(seen("env", "environ"))).To(ContainSubstring("PASSWORD=" + first + "\x00"))
	})

	It("an open file has the former value", func() {
		Expect(content(seen("open", "fd", "3"))).To(Equal(first))
	})

	It("a shell that stands in the volume has the new value, and one in ..data nothing", func() {
		Expect(content(seen("root", "cwd", "password"))).To(Equal(second))
		_, err := os.ReadDir(seen("inside", "cwd"))
		Expect(err).To(MatchError(fs.ErrNotExist))
	})

	It("who watches has events from the directory each time, and from a file or link that is replaced only once", func(ctx SpecContext) {
		Expect(held.of("password")()).To(ConsistOf("ATTRIB"), "who has it open, or mounted alone, keeps the former file alive")
		watch := newWatcher(inPod(pod, mountPath))
		rotate(ctx)
		expectSwap := func() {
			GinkgoHelper()
			Eventually(watch.of(".")).WithTimeout(soon).
				Should(ContainElements("CREATE ..DATE", "MOVED_TO ..data", "DELETE ..DATE"))
		}
		expectSwap()
		for _, replaced := range []string{"password", "..data"} {
			Eventually(watch.of(replaced)).WithTimeout(soon).Should(ContainElements("DELETE_SELF", "IGNORED"), replaced)
		}
		Expect(watch.of("..data/")()).To(ContainElements("DELETE password", "DELETE_SELF", "IGNORED"))
		Expect(watch.of("host")()).To(HaveEach("ATTRIB"), "a file whose content stays, stays")

		watch.forget()
		rotate(ctx)
		expectSwap()
		for _, replaced := range []string{"password", "..data", "..data/"} {
			Expect(watch.of(replaced)()).To(BeEmpty(), replaced)
		}
		Expect(watch.of("host")()).To(HaveEach("ATTRIB"))
	}, SpecTimeout(2*eventual))

	It("a container with a subPath that restarts has the new value, and its volume is updated as before", func(ctx SpecContext) {
		value, err := read(pod, "password")
		Expect(err).NotTo(HaveOccurred())
		before := processOf(pod, "single")
		Expect(unix.Kill(before, unix.SIGKILL)).To(Succeed())
		Eventually(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			status := statusOf(pod, "single")
			g.Expect(status.RestartCount).To(BeNumerically("==", 1))
			g.Expect(status.Ready).To(BeTrue())
		}).WithTimeout(eventual).Should(Succeed())
		Expect(content(seen("single", "root", "single"))).To(Equal(value))
		Expect(content(seen("env", "root", "single"))).To(Equal(first))
		next := rotate(ctx)
		Expect(content(seen("single", "root", "connection", "password"))).To(Equal(next))
		Expect(content(seen("single", "root", "single"))).To(Equal(value))
	}, SpecTimeout(2*eventual))

	It("a pod in a user namespace has the new value, where the node's runtime has such", func(ctx SpecContext) {
		mapped := t.pod("db")
		mapped.Spec.HostUsers = new(false)
		create(ctx, mapped)
		refused := ContainElement(ContainSubstring("runtime does not support user namespaces"))
		Eventually(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, client.ObjectKeyFromObject(mapped), mapped)).To(Succeed())
			if !isRunning(mapped) {
				g.Expect(eventsOf(ctx, mapped, "FailedCreatePodSandBox")).To(refused)
			}
		}).WithTimeout(eventual).Should(Succeed())
		if isRunning(mapped) {
			value := rotate(ctx)
			Eventually(ctx, func() (string, error) { return read(mapped, "password") }).
				WithTimeout(eventual).Should(Equal(value))
		}
	}, SpecTimeout(2*eventual))
})

var _ = Describe("A volume inside another", Ordered, func() {
	var t *tenant

	// nested is a pod with two volumes of the driver, and maybe one of another kind around them.
	nested := func(ctx context.Context, mounts map[string]string) *corev1.Pod {
		pod := t.pod("db")
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
		second := *pod.Spec.Volumes[0].DeepCopy()
		second.Name = "second"
		pod.Spec.Volumes = append(pod.Spec.Volumes, second,
			corev1.Volume{Name: "around", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		pod.Spec.Containers[0].VolumeMounts = nil
		for path, volume := range mounts {
			pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts,
				corev1.VolumeMount{Name: volume, MountPath: path})
		}
		create(ctx, pod)
		return pod
	}

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		t.put(ctx, "db", map[string]any{"password": newSecret("password")})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
	}, NodeTimeout(eventual))

	It("has no directory to be mounted at, for the outer one is read-only", func(ctx SpecContext) {
		pod := nested(ctx, map[string]string{"/c": builder.VolumeName, "/c/b": "second"})
		Eventually(ctx, func() []string { return eventsOf(ctx, pod, "Failed") }).WithTimeout(eventual).
			Should(ContainElement(ContainSubstring("read-only file system")))
	}, SpecTimeout(eventual))

	It("stands beside the other in a volume that can be written", func(ctx SpecContext) {
		pod := nested(ctx, map[string]string{"/c": "around", "/c/a": builder.VolumeName, "/c/b": "second"})
		expectRuns(ctx, pod, eventual)
		for _, path := range []string{"/c/a/password", "/c/b/password"} {
			_, err := os.Stat(inPod(pod, path))
			Expect(err).NotTo(HaveOccurred())
		}
	}, SpecTimeout(eventual))
})

// watcher has an inotify watch on parts of a volume. Watches belong to the inode: what a process in the container gets
// is the same.
type watcher struct {
	instance int
	names    map[int32]string
	events   map[string][]string // by what is watched
}

func newWatcher(volume string) *watcher {
	GinkgoHelper()
	instance, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { _ = unix.Close(instance) })
	w := &watcher{instance: instance, names: map[int32]string{}}
	w.forget()
	const mask = unix.IN_ALL_EVENTS &^ (unix.IN_ACCESS | unix.IN_OPEN | unix.IN_CLOSE_NOWRITE)
	for name, flags := range map[string]uint32{
		".": 0, "password": 0, "host": 0, "..data": unix.IN_DONT_FOLLOW, "..data/": 0,
	} {
		id, err := unix.InotifyAddWatch(instance, volume+"/"+name, mask|flags)
		Expect(err).NotTo(HaveOccurred(), name)
		w.names[int32(id)] = name
	}
	return w
}

func (w *watcher) forget() {
	if w.events != nil {
		w.read()
	}
	w.events = map[string][]string{}
}

// of returns a function that returns the events until now: name and, within a directory, of which entry.
func (w *watcher) of(name string) func() []string {
	return func() []string {
		w.read()
		return w.events[name]
	}
}

func (w *watcher) read() {
	GinkgoHelper()
	buffer := make([]byte, 64<<10)
	for {
		count, err := unix.Read(w.instance, buffer)
		if err != nil {
			Expect(err).To(MatchError(unix.EAGAIN))
			return
		}
		for rest := buffer[:count]; len(rest) > 0; {
			id, mask := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			entry := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:end]), "\x00")
			rest = rest[end:]
			if strings.HasPrefix(entry, "..2") {
				entry = "..DATE"
			}
			w.events[w.names[id]] = append(w.events[w.names[id]], strings.TrimSpace(eventName(mask)+" "+entry))
		}
	}
}

func eventName(mask uint32) string {
	for name, bit := range map[string]uint32{
		"ATTRIB": unix.IN_ATTRIB, "CREATE": unix.IN_CREATE, "DELETE": unix.IN_DELETE, "DELETE_SELF": unix.IN_DELETE_SELF,
		"IGNORED": unix.IN_IGNORED, "MOVED_FROM": unix.IN_MOVED_FROM, "MOVED_TO": unix.IN_MOVED_TO,
	} {
		if mask&bit != 0 {
			return name
		}
	}
	return strconv.FormatUint(uint64(mask), 16)
}
