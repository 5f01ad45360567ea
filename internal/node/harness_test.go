package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	clocktesting "k8s.io/utils/clock/testing"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/node/volume"
	resolverv1 "sallyport.dev/sallyport/internal/resolver/api/v1"
)

const (
	secretToken   = "canary-token-ZK4T"
	secretContent = "canary-content-9QWX"
	secretLease   = "canary-lease-V7RD"
	volumeID      = "csi-3f2a"
)

// testNode is one Node: what outlives the plugin's process, and the process.
type testNode struct {
	t        *testing.T
	g        *WithT
	dir      string
	mounter  *fakeMounter
	steps    *steps
	resolver *fakeResolver
	changes  *fakeChanges
	clock    *clocktesting.FakeClock
	logs     *syncedText
	errors   *syncedText

	budget   int64
	registry *prometheus.Registry
	driver   *Driver
	calls    csi.NodeClient
	identity csi.IdentityClient
	stop     func()
}

// newTestNode returns a node with a running plugin and a Connection "db" of two files.
func newTestNode(t *testing.T, options ...func(*testNode)) *testNode {
	t.Helper()
	// Not t.TempDir: a Unix socket's path is short.
	dir, err := os.MkdirTemp("", "sallyport")
	n := &testNode{
		t: t, g: NewWithT(t), dir: dir, mounter: newFakeMounter(), steps: &steps{}, logs: &syncedText{}, errors: &syncedText{},
		clock:    clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		resolver: &fakeResolver{refresh: time.Minute.Milliseconds()},
		changes:  &fakeChanges{topics: make(chan []string)},
	}
	n.g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n.resolver.setFiles(map[string]string{"type": "SQLORACLE", "password": secretContent})
	n.g.Expect(os.MkdirAll(filepath.Dir(n.target()), 0o750)).To(Succeed())
	for _, option := range options {
		option(n)
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *testNode) config() Config {
	n.registry = prometheus.NewRegistry()
	return Config{
		NodeName: "node-1", Version: "v0", Resolver: n.resolver, Changes: n.changes, Registry: n.registry, KubeletDir: n.dir, Clock: n.clock,
		MemoryBudget: n.budget,
		Mounter:      steppedMounter{steps: n.steps, Mounter: n.mounter},
		filesystem:   steppedFilesystem{steps: n.steps, Filesystem: volume.OSFilesystem{}},
	}
}

// start starts a new process over what the last one left.
func (n *testNode) start() {
	n.t.Helper()
	driver, err := New(n.config())
	n.g.Expect(err).NotTo(HaveOccurred())
	logger := funcr.New(func(prefix, args string) { n.logs.add(prefix + " " + args) }, funcr.Options{Verbosity: 9})
	ctx, cancel := context.WithCancel(logr.NewContext(context.Background(), logger))
	ended := make(chan error, 1)
	go func() { ended <- driver.Run(ctx) }()
	connection, err := grpc.NewClient("unix://"+driver.config.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	n.g.Expect(err).NotTo(HaveOccurred())
	n.driver, n.calls, n.identity = driver, csi.NewNodeClient(connection), csi.NewIdentityClient(connection)
	n.stop = func() {
		_ = connection.Close()
		cancel()
		n.g.Expect(<-ended).To(Succeed())
		n.stop = func() {}
	}
	n.g.Eventually(func() error { return driver.probe(ctx) }).Should(Succeed())
}

// restart replaces the process; the reset brings the successor of a dead one to life.
func (n *testNode) restart() {
	n.t.Helper()
	n.stop()
	n.steps.reset()
	n.start()
}

func (n *testNode) target() string {
	return filepath.Join(n.dir, "pods", "uid-1", "volumes", "kubernetes.io~csi", "db", "mount")
}

// request is what the kubelet sends for a volume of the Connection "db".
func (n *testNode) request(changes ...func(*csi.NodePublishVolumeRequest)) *csi.NodePublishVolumeRequest {
	request := &csi.NodePublishVolumeRequest{
		VolumeId:   volumeID,
		TargetPath: n.target(),
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
		VolumeContext: map[string]string{
			v1alpha1.AttributeConnection:          "db",
			keyEphemeral:                          "true",
			keyPodName:                            "shop-0",
			keyPodNamespace:                       "shop",
			keyPodUID:                             "uid-1",
			kubeletPrefix + "serviceAccount.name": "default",
		},
		Secrets: map[string]string{keyTokens: n.tokens(secretToken)},
	}
	for _, change := range changes {
		change(request)
	}
	return request
}

// tokens is the kubelet's map of tokens, with one that is good for an hour.
func (n *testNode) tokens(token string) string {
	text, err := json.Marshal(map[string]map[string]any{
		v1alpha1.AudiencePod: {"token": token, "expirationTimestamp": n.clock.Now().Add(time.Hour)},
		"vault":              {"token": token + " for Vault", "expirationTimestamp": n.clock.Now().Add(time.Hour)},
	})
	n.g.Expect(err).NotTo(HaveOccurred())
	return string(text)
}

func (n *testNode) publish(changes ...func(*csi.NodePublishVolumeRequest)) error {
	_, err := n.calls.NodePublishVolume(n.t.Context(), n.request(changes...))
	if err != nil {
		n.errors.add(err.Error())
	}
	return err
}

func (n *testNode) unpublish() error {
	_, err := n.calls.NodeUnpublishVolume(n.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: n.target()})
	if err != nil {
		n.errors.add(err.Error())
	}
	return err
}

// files is what the pod sees, nil without a mount.
func (n *testNode) files() map[string]string {
	if mounted, _ := n.mounter.Mounted(n.target()); !mounted {
		return nil
	}
	entries, err := os.ReadDir(n.target())
	n.g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), volume.InternalPrefix) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(n.target(), entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			// Between the swap and the removal of the links of files that are gone, as in a mounted Secret.
			continue
		}
		n.g.Expect(err).NotTo(HaveOccurred())
		files[entry.Name()] = string(content)
	}
	return files
}

// size is the memory that a volume of the Connection "db" with files of these names and contents takes.
func (n *testNode) size(files ...string) int64 {
	list := []*resolverv1.File{}
	for pair := range slices.Chunk(files, 2) {
		list = append(list, &resolverv1.File{Path: pair[0], Content: []byte(pair[1])})
	}
	return volume.SizeOf(list, volume.State{Attributes: map[string]string{v1alpha1.AttributeConnection: "db"}})
}

// expectNothingLeft checks that the node is as it was before the volume.
func (n *testNode) expectNothingLeft() {
	n.t.Helper()
	n.expectNoVolume()
	_, err := os.Lstat(n.target())
	n.g.Expect(err).To(MatchError(fs.ErrNotExist), "the target path is left")
}

// expectNoVolume checks that the driver keeps nothing.
func (n *testNode) expectNoVolume() {
	n.t.Helper()
	n.g.Expect(n.mounter.count(n.driver.config.spoolDir())).To(BeZero(), "mounts are left")
	entries, err := os.ReadDir(n.driver.config.volumesDir())
	n.g.Expect(err).NotTo(HaveOccurred())
	n.g.Expect(entries).To(BeEmpty(), "directories of volumes are left")
	n.g.Expect(n.driver.volumes.All()).To(BeEmpty())
	n.g.Expect(n.driver.budget.Used()).To(BeZero())
}

// passTime moves the clock a second at a time until check holds.
func (n *testNode) passTime(check func(g Gomega)) {
	n.t.Helper()
	n.passTimeBy(time.Second, check)
}

func (n *testNode) passTimeBy(step time.Duration, check func(g Gomega)) {
	n.t.Helper()
	n.g.Eventually(func(g Gomega) {
		n.clock.Step(step)
		check(g)
	}).WithTimeout(20 * time.Second).WithPolling(time.Millisecond).Should(Succeed())
}

// within moves the clock a second at a time until check holds, and no further than limit: then it stands still, however
// long a busy machine takes, so that nothing else that time would bring is what made it hold.
func (n *testNode) within(limit time.Duration, check func(g Gomega)) {
	n.t.Helper()
	started := n.clock.Now()
	n.g.Eventually(func(g Gomega) {
		if n.clock.Since(started) < limit {
			n.clock.Step(time.Second)
		}
		check(g)
	}).WithTimeout(20 * time.Second).WithPolling(time.Millisecond).Should(Succeed())
}

// metric returns the value of one metric, and whether it exists. The labels are values, in any order.
func (n *testNode) metric(name string, labels ...string) float64 {
	n.t.Helper()
	families, err := n.registry.Gather()
	n.g.Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if len(labels) > 0 && metric.GetLabel()[0].GetValue() != labels[0] {
				continue
			}
			return metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return 0
}
