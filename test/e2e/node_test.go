package e2e

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

const (
	kubeletDir = "/var/lib/kubelet"
	volumesDir = kubeletDir + "/plugins/" + v1alpha1.DriverName + "/volumes"
)

// component starts and stops a program of the node.
func component(ctx context.Context, arguments ...string) {
	GinkgoHelper()
	// The programs that it starts outlive the spec, so they must not be its context's.
	command := exec.CommandContext(context.WithoutCancel(ctx), paths.component(), arguments...)
	output, err := command.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "component.sh %s: %s", strings.Join(arguments, " "), output)
}

// process returns the ID of a process of the pod's first container.
func process(pod *corev1.Pod) int {
	GinkgoHelper()
	return processOf(pod, pod.Spec.Containers[0].Name)
}

func statusOf(pod *corev1.Pod, container string) corev1.ContainerStatus {
	GinkgoHelper()
	i := slices.IndexFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == container })
	Expect(i).NotTo(Equal(-1), "container %s of pod %s", container, pod.Name)
	return pod.Status.ContainerStatuses[i]
}

// processOf returns the ID of a process of a container. The suite shares the node's process IDs.
func processOf(pod *corev1.Pod, container string) int {
	GinkgoHelper()
	_, id, found := strings.Cut(statusOf(pod, container).ContainerID, "://")
	Expect(found).To(BeTrue(), "the container of pod %s has no ID", pod.Name)
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(content), id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		Expect(err).NotTo(HaveOccurred())
		return pid
	}
	Fail("no process runs in the container of pod " + pod.Name)
	return 0
}

// inPod returns the path under which this process finds a file as the pod's container sees it, through its own mounts.
func inPod(pod *corev1.Pod, path string) string {
	GinkgoHelper()
	return filepath.Join("/proc", strconv.Itoa(process(pod)), "root", path)
}

// kill ends the first container of a pod without asking.
func kill(pod *corev1.Pod) {
	GinkgoHelper()
	Expect(syscall.Kill(process(pod), syscall.SIGKILL)).To(Succeed())
}

// mount is a line of /proc/PID/mountinfo.
type mount struct {
	point, options, filesystem string
}

func mountsOf(pid string) []mount {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join("/proc", pid, "mountinfo"))
	Expect(err).NotTo(HaveOccurred())
	var mounts []mount
	for line := range strings.Lines(string(content)) {
		fields, rest, found := strings.Cut(line, " - ")
		Expect(found).To(BeTrue(), "mountinfo: %s", line)
		f := strings.Fields(fields)
		mounts = append(mounts, mount{point: f[4], options: f[5], filesystem: strings.Fields(rest)[0]})
	}
	return mounts
}

// targetDir is where the kubelet wants the volume of a pod, seen from the node.
func targetDir(pod *corev1.Pod) string {
	return filepath.Join(kubeletDir, "pods", string(pod.UID), "volumes", "kubernetes.io~csi", builder.VolumeName)
}

// volumeDir is the node plugin's directory for the volume of a pod.
func volumeDir(pod *corev1.Pod) string {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join(targetDir(pod), "vol_data.json"))
	Expect(err).NotTo(HaveOccurred(), "the kubelet's note of the volume of pod %s", pod.Name)
	var note struct {
		Handle string `json:"volumeHandle"`
	}
	Expect(json.Unmarshal(content, &note)).To(Succeed())
	Expect(note.Handle).NotTo(BeEmpty())
	return filepath.Join(volumesDir, note.Handle)
}

// traces lists what is left on the node of a pod and its volume: mounts, in the node's and in the plugin's namespace,
// and directories.
func traces(plugin, pod *corev1.Pod, volume string) []string {
	GinkgoHelper()
	var left []string
	for _, pid := range []string{"self", strconv.Itoa(process(plugin))} {
		for _, m := range mountsOf(pid) {
			if strings.Contains(m.point, string(pod.UID)) || strings.HasPrefix(m.point, volume) {
				left = append(left, "mount "+m.point+" of process "+pid)
			}
		}
	}
	for _, dir := range []string{volume, filepath.Join(kubeletDir, "pods", string(pod.UID))} {
		if _, err := os.Lstat(dir); err == nil {
			left = append(left, "directory "+dir)
		}
	}
	return left
}

// volumesLeft lists the volumes that the plugin keeps, and mounts of them.
func volumesLeft() []string {
	GinkgoHelper()
	entries, err := os.ReadDir(volumesDir)
	if err != nil {
		Expect(err).To(MatchError(fs.ErrNotExist))
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	for _, m := range mountsOf("self") {
		if strings.HasPrefix(m.point, volumesDir) || strings.Contains(m.point, "kubernetes.io~csi/"+builder.VolumeName) {
			left = append(left, "mount "+m.point)
		}
	}
	return left
}
