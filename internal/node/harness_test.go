package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
)

const (
	secretToken   = "canary-token-ZK4T"
	secretContent = "canary-content-9QWX"
	secretLease   = "canary-lease-V7RD"
	volumeID      = "csi-3f2a"
)

// machine is one node: what outlives the plugin's process, and the process.
type machine struct {
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

// newMachine returns a node with a running plugin and a Connection "db" of two files.
func newMachine(t *testing.T, options ...func(*machine)) *machine {
	t.Helper()
	// Not t.TempDir: a Unix socket's path is short.
	dir, err := os.MkdirTemp("", "sallyport")
	m := &machine{
		t: t, g: NewWithT(t), dir: dir, mounter: newFakeMounter(), steps: &steps{}, logs: &syncedText{}, errors: &syncedText{},
		clock:    clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		resolver: &fakeResolver{refresh: time.Minute.Milliseconds()},
		changes:  &fakeChanges{topics: make(chan []string)},
	}
	m.g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m.resolver.set(map[string]string{"type": "SQLORACLE", "password": secretContent})
	m.g.Expect(os.MkdirAll(filepath.Dir(m.target()), 0o750)).To(Succeed())
	for _, option := range options {
		option(m)
	}
	m.start()
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *machine) config() Config {
	m.registry = prometheus.NewRegistry()
	return Config{
		NodeName: "node-1", Version: "v0", Resolver: m.resolver, Changes: m.changes, Registry: m.registry, KubeletDir: m.dir, Clock: m.clock,
		MemoryBudget: m.budget,
		Mounter:      steppedMounter{steps: m.steps, Mounter: m.mounter},
		filesystem:   steppedFilesystem{steps: m.steps, Filesystem: volume.OSFilesystem{}},
	}
}

// start starts a new process over what the last one left.
func (m *machine) start() {
	m.t.Helper()
	driver, err := New(m.config())
	m.g.Expect(err).NotTo(HaveOccurred())
	logger := funcr.New(func(prefix, args string) { m.logs.add(prefix + " " + args) }, funcr.Options{Verbosity: 9})
	ctx, cancel := context.WithCancel(logr.NewContext(context.Background(), logger))
	ended := make(chan error, 1)
	go func() { ended <- driver.Run(ctx) }()
	connection, err := grpc.NewClient("unix://"+driver.config.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	m.g.Expect(err).NotTo(HaveOccurred())
	m.driver, m.calls, m.identity = driver, csi.NewNodeClient(connection), csi.NewIdentityClient(connection)
	m.stop = func() {
		_ = connection.Close()
		cancel()
		m.g.Expect(<-ended).To(Succeed())
		m.stop = func() {}
	}
	m.g.Eventually(func() error { return driver.probe(ctx) }).Should(Succeed())
}

// restart replaces the process; arming anew also brings a dead one's successor to life.
func (m *machine) restart() {
	m.t.Helper()
	m.stop()
	m.steps.arm(0, 0)
	m.start()
}

func (m *machine) target() string {
	return filepath.Join(m.dir, "pods", "uid-1", "volumes", "kubernetes.io~csi", "db", "mount")
}

// request is what the kubelet sends for a volume of the Connection "db".
func (m *machine) request(changes ...func(*csi.NodePublishVolumeRequest)) *csi.NodePublishVolumeRequest {
	request := &csi.NodePublishVolumeRequest{
		VolumeId:   volumeID,
		TargetPath: m.target(),
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
		Secrets: map[string]string{keyTokens: m.tokens(secretToken)},
	}
	for _, change := range changes {
		change(request)
	}
	return request
}

// tokens is the kubelet's map of tokens, with one that is good for an hour.
func (m *machine) tokens(token string) string {
	text, err := json.Marshal(map[string]map[string]any{
		v1alpha1.AudiencePod: {"token": token, "expirationTimestamp": m.clock.Now().Add(time.Hour)},
		"vault":              {"token": token + " for Vault", "expirationTimestamp": m.clock.Now().Add(time.Hour)},
	})
	m.g.Expect(err).NotTo(HaveOccurred())
	return string(text)
}

func (m *machine) publish(changes ...func(*csi.NodePublishVolumeRequest)) error {
	_, err := m.calls.NodePublishVolume(m.t.Context(), m.request(changes...))
	if err != nil {
		m.errors.add(err.Error())
	}
	return err
}

func (m *machine) unpublish() error {
	_, err := m.calls.NodeUnpublishVolume(m.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: m.target()})
	if err != nil {
		m.errors.add(err.Error())
	}
	return err
}

// files is what the pod sees, nil without a mount.
func (m *machine) files() map[string]string {
	if mounted, _ := m.mounter.Mounted(m.target()); !mounted {
		return nil
	}
	entries, err := os.ReadDir(m.target())
	m.g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), volume.InternalPrefix) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(m.target(), entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			// Between the swap and the removal of the links of files that are gone, as in a mounted Secret.
			continue
		}
		m.g.Expect(err).NotTo(HaveOccurred())
		files[entry.Name()] = string(content)
	}
	return files
}

// expectNothingLeft checks that the node is as it was before the volume.
func (m *machine) expectNothingLeft() {
	m.t.Helper()
	m.expectNoVolume()
	_, err := os.Lstat(m.target())
	m.g.Expect(err).To(MatchError(fs.ErrNotExist), "the target path is left")
}

// expectNoVolume checks that the driver keeps nothing.
func (m *machine) expectNoVolume() {
	m.t.Helper()
	m.g.Expect(m.mounter.count(m.driver.config.spoolDir())).To(BeZero(), "mounts are left")
	entries, err := os.ReadDir(m.driver.config.volumesDir())
	m.g.Expect(err).NotTo(HaveOccurred())
	m.g.Expect(entries).To(BeEmpty(), "directories of volumes are left")
	m.g.Expect(m.driver.volumes.All()).To(BeEmpty())
	m.g.Expect(m.driver.budget.Used()).To(BeZero())
}

// passTime moves the clock a second at a time until check holds.
func (m *machine) passTime(check func(g Gomega)) {
	m.t.Helper()
	m.passTimeBy(time.Second, check)
}

func (m *machine) passTimeBy(step time.Duration, check func(g Gomega)) {
	m.t.Helper()
	m.g.Eventually(func(g Gomega) {
		m.clock.Step(step)
		check(g)
	}).WithTimeout(20 * time.Second).WithPolling(time.Millisecond).Should(Succeed())
}

// metric returns the value of one metric, and whether it exists. The labels are values, in any order.
func (m *machine) metric(name string, labels ...string) float64 {
	m.t.Helper()
	families, err := m.registry.Gather()
	m.g.Expect(err).NotTo(HaveOccurred())
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
