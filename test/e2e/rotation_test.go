package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// readerLoop reads two files that always hold the same secret, and says when one is missing or they differ although the
// volume was not swapped in between. What it reads stays in the shell's memory.
const readerLoop = `
rounds=0
cd /
while :; do
  first= second=
  before=$(readlink /connection/..data)
  read -r first </connection/user
  read -r second </connection/password
  after=$(readlink /connection/..data)
  [ -n "$first" ] && [ -n "$second" ] && [ -n "$before" ] && [ -n "$after" ] || echo missing
  [ "$before" != "$after" ] || [ "$first" = "$second" ] || echo mixed
  rounds=$((rounds + 1))
  [ $((rounds % 100)) != 0 ] || echo "rounds $rounds"
done 2>&1`

var _ = Describe("A secret that changes in Vault", Ordered, func() {
	// refreshInterval, plus two seconds that the API promises, plus what a busy machine may take.
	const limit = refreshInterval + 2*time.Second + 3*time.Second

	var (
		t      *tenant
		pod    *corev1.Pod
		reader *corev1.Pod
	)

	rotate := func(ctx context.Context) string {
		value := newSecret("rotated")
		t.put(ctx, "db", map[string]any{"user": value, "password": value})
		return value
	}

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		value := rotate(ctx)
		create(ctx, t.connection("db", map[string]any{
			"host": "db.example.com", "user": "vault.secret(user)", "password": "vault.secret(password)",
		}, t.secretAt("db")))
		reader = t.pod("db")
		reader.Spec.Containers[0].Command = []string{"/bin/sh", "-c", readerLoop}
		reader.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m")}
		create(ctx, reader)
		pod = t.run(ctx, "db")
		expectRuns(ctx, reader, eventual)
		expectFile(pod, "password", value)
	}, NodeTimeout(2*eventual))

	It("reaches running pods within the refresh interval and two seconds, and leaves the other files alone", func(ctx SpecContext) {
		host, err := os.Stat(inPod(pod, filepath.Join(mountPath, "host")))
		Expect(err).NotTo(HaveOccurred())
		var took []time.Duration
		for range 4 {
			began := time.Now()
			value := rotate(ctx)
			for _, p := range []*corev1.Pod{pod, reader} {
				Eventually(ctx, func() (string, error) { return read(p, "password") }).WithTimeout(eventual).Should(Equal(value))
			}
			took = append(took, time.Since(began))
			expectFile(pod, "user", value)
		}
		slices.Sort(took)
		Expect(took[:3]).To(HaveEach(BeNumerically("<=", limit)), "the machine may stand still in one")
		after, err := os.Stat(inPod(pod, filepath.Join(mountPath, "host")))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.SameFile(host, after)).To(BeTrue(), "the file host keeps its inode")
		Expect(after.ModTime()).To(Equal(host.ModTime()))
	}, SpecTimeout(3*eventual))

	It("is never seen half, by a reader that does nothing but look", func(ctx SpecContext) {
		lines := logOf(ctx, reader)
		Expect(lines).To(ContainElement(HavePrefix("rounds ")), "the reader has read")
		for _, line := range lines {
			Expect(line).To(HavePrefix("rounds "))
		}
	}, SpecTimeout(soon))

	It("leaves every file alone where only its version is new", func(ctx SpecContext) {
		value := rotate(ctx)
		Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(eventual).Should(Equal(value))
		data, err := os.Readlink(inPod(pod, filepath.Join(mountPath, "..data")))
		Expect(err).NotTo(HaveOccurred())
		before, err := os.Stat(inPod(pod, filepath.Join(mountPath, "password")))
		Expect(err).NotTo(HaveOccurred())

		t.put(ctx, "db", map[string]any{"user": value, "password": value})
		// Two refreshes of each of the two volumes: one of them began after the write.
		refreshed := refreshes(ctx)
		Eventually(ctx, func() int { return refreshes(ctx) }).WithTimeout(eventual).WithPolling(time.Second).Should(BeNumerically(">=", refreshed+4))
		Expect(os.Readlink(inPod(pod, filepath.Join(mountPath, "..data")))).To(Equal(data))
		after, err := os.Stat(inPod(pod, filepath.Join(mountPath, "password")))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.SameFile(before, after)).To(BeTrue(), "the file password keeps its inode")
		Expect(after.ModTime()).To(Equal(before.ModTime()))
	}, SpecTimeout(3*eventual))

	It("stays in the pods in its last good state when it is deleted in Vault, until there is a new one", func(ctx SpecContext) {
		before, err := read(pod, "password")
		Expect(err).NotTo(HaveOccurred())
		Expect(vault.KVv2(engine).Delete(ctx, t.namespace+"/db")).To(Succeed())
		Eventually(ctx, func() string { return metricsOf(ctx, plugin(ctx)) }).WithTimeout(eventual).WithPolling(time.Second).
			Should(ContainSubstring("\nsallyport_node_stale_volumes 2\n"))
		expectFile(pod, "password", before)
		expectFile(pod, "host", "db.example.com")

		value := rotate(ctx)
		Eventually(ctx, func() (string, error) { return read(pod, "password") }).WithTimeout(eventual).Should(Equal(value))
		Eventually(ctx, func() string { return metricsOf(ctx, plugin(ctx)) }).WithTimeout(eventual).WithPolling(time.Second).
			Should(ContainSubstring("\nsallyport_node_stale_volumes 0\n"))
	}, SpecTimeout(2*eventual))
})

// refreshes counts the refreshes that succeeded on the node.
func refreshes(ctx context.Context) int {
	GinkgoHelper()
	for line := range strings.Lines(metricsOf(ctx, plugin(ctx))) {
		if rest, found := strings.CutPrefix(line, `sallyport_node_refreshes_total{reason="Succeeded"} `); found {
			count, err := strconv.Atoi(strings.TrimSpace(rest))
			Expect(err).NotTo(HaveOccurred())
			return count
		}
	}
	return 0
}
