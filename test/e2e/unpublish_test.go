package e2e

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("A pod's volume", Ordered, Serial, func() {
	var (
		t     *tenant
		value string
	)

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		value = newSecret("password")
		t.put(ctx, "db", map[string]any{"password": value})
		create(ctx, t.connection("db", map[string]any{"password": "vault.secret(password)"}, t.secretAt("db")))
	}, NodeTimeout(eventual))

	expectNoTrace := func(ctx context.Context, pod *corev1.Pod, volume string) {
		GinkgoHelper()
		p := plugin(ctx)
		Eventually(ctx, func() []string { return traces(p, pod, volume) }).WithTimeout(atLast).Should(BeEmpty())
	}

	It("leaves no mount, no directory and no memory on the node when the pod is deleted", func(ctx SpecContext) {
		pod := t.run(ctx, "db")
		volume := volumeDir(pod)
		Expect(traces(plugin(ctx), pod, volume)).To(ContainElements(
			HavePrefix("mount "+volume), HavePrefix("mount "+targetDir(pod)), "directory "+volume), "what there is while the pod runs")
		remove(ctx, pod)
		expectNoTrace(ctx, pod, volume)
	}, SpecTimeout(2*eventual))

	It("goes away too while programs of the node have it in use, which keep what they hold until they let go", func(ctx SpecContext) {
		pod := t.run(ctx, "db")
		volume, mounted := volumeDir(pod), filepath.Join(targetDir(pod), "mount")
		// By both mounts on the node, and by the one that the container has.
		var open []*os.File
		for _, path := range []string{volume, filepath.Join(mounted, "password"), inPod(pod, filepath.Join(mountPath, "password"))} {
			file, err := os.Open(path)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(file.Close)
			open = append(open, file)
		}
		works := exec.CommandContext(ctx, "sleep", "600")
		works.Dir = mounted
		Expect(works.Start()).To(Succeed())
		DeferCleanup(func() {
			_ = works.Process.Kill()
			_ = works.Wait()
		})
		remove(ctx, pod)
		expectNoTrace(ctx, pod, volume)
		Expect(works.Process.Signal(syscall.Signal(0))).To(Succeed(), "it works there still")
		for _, file := range open[1:] {
			content, err := io.ReadAll(file)
			Expect(err).NotTo(HaveOccurred())
			Expect(string(content)).To(Equal(value))
		}
	}, SpecTimeout(2*atLast))

	It("goes away too when nobody could be asked to unmount it at first", func(ctx SpecContext) {
		pod := t.run(ctx, "db")
		forced := t.run(ctx, "db")
		volume, forcedVolume := volumeDir(pod), volumeDir(forced)
		withoutPlugin(ctx, func() {
			Expect(api.Delete(ctx, pod)).To(Succeed())
			Expect(api.Delete(ctx, forced, client.GracePeriodSeconds(0))).To(Succeed())
			expectGone(ctx, forced)
			Consistently(ctx, func() error { _, err := os.Stat(volume); return err }).WithTimeout(refreshInterval).Should(Succeed())
		})
		expectGone(ctx, pod)
		expectNoTrace(ctx, pod, volume)
		expectNoTrace(ctx, forced, forcedVolume)
	}, SpecTimeout(2*atLast))

	It("survives a restart of the kubelet", func(ctx SpecContext) {
		pod := t.run(ctx, "db")
		file := targetDir(pod) + "/mount/password"
		before, err := os.Stat(file)
		Expect(err).NotTo(HaveOccurred())
		component(ctx, "restart", "kubelet")
		expectFile(pod, "password", value)
		expectFile(t.run(ctx, "db"), "password", value)
		after, err := os.Stat(file)
		Expect(err).NotTo(HaveOccurred())
		Expect(os.SameFile(before, after)).To(BeTrue(), "the volume is the same one as before")
		Expect(before.Sys().(*syscall.Stat_t).Dev).To(Equal(after.Sys().(*syscall.Stat_t).Dev))

		value = newSecret("password, rotated")
		t.put(ctx, "db", map[string]any{"password": value})
		Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(atLast).Should(Equal(value))
	}, SpecTimeout(2*atLast))
})

// withoutPlugin calls do while no node plugin runs.
func withoutPlugin(ctx context.Context, do func()) {
	GinkgoHelper()
	keepMetrics(ctx)
	running := plugin(ctx)
	set := &appsv1.DaemonSet{}
	set.Name, set.Namespace = "sallyport-node", systemNamespace
	const label = "sallyport.dev/e2e-nowhere"
	change(ctx, set, func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeSelector[label] = "true" })
	restored := false
	restore := func(ctx context.Context) {
		if !restored {
			change(ctx, set, func(s *appsv1.DaemonSet) { delete(s.Spec.Template.Spec.NodeSelector, label) })
			expectProductReady(ctx)
			restored = true
		}
	}
	DeferCleanup(func(ctx SpecContext) { restore(ctx) }, NodeTimeout(2*eventual))
	expectGone(ctx, running)
	do()
	restore(ctx)
}
