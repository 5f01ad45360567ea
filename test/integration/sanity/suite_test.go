//go:build linux

// Package sanity runs csi-sanity, the conformance tests of the Container Storage Interface, against the node plugin's real
// driver with real mounts: everything that a driver without a controller service can run, see skipped_test.go.
package sanity

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	csisanity "github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"sallyport.dev/sallyport/internal/node"
)

const inNamespace = "SALLYPORT_TEST_NAMESPACE"

func TestSanity(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	if os.Getenv(inNamespace) == "" {
		again(t)
		return
	}
	RegisterFailHandler(Fail)
	config := csisanity.NewTestConfig()
	var stop func()
	BeforeSuite(func() { stop = start(t, &config) })
	AfterSuite(func() { stop() })
	sanity := csisanity.GinkgoTest(&config)
	defer sanity.Finalize()
	ReportAfterSuite("nothing is skipped without a reason", checkSkipped)

	suite, reporter := GinkgoConfiguration()
	suite.SkipStrings = append(suite.SkipStrings, notOurs()...)
	RunSpecs(t, "csi-sanity: the node plugin with real mounts", suite, reporter)
}

// again runs the test in a mount namespace of its own, in which every mount is private: nothing of it gets out.
func again(t *testing.T) {
	t.Helper()
	inner := exec.CommandContext(t.Context(), os.Args[0], os.Args[1:]...)
	inner.Env = append(os.Environ(), inNamespace+"=1")
	inner.Stdout, inner.Stderr = os.Stdout, os.Stderr
	inner.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	NewWithT(t).Expect(inner.Run()).To(Succeed())
}

// start starts the driver and what stands between it and the tests, and tells the tests where.
func start(t *testing.T, config *csisanity.TestConfig) (stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sanity")
	Expect(err).NotTo(HaveOccurred())
	// The driver refuses to work where pods would not see its mounts.
	Expect(unix.Mount("tmpfs", dir, "tmpfs", 0, "")).To(Succeed())
	Expect(unix.Mount("", dir, "", unix.MS_SHARED, "")).To(Succeed())
	given := newFixture()

	config.TargetPath = filepath.Join(dir, "pods", "uid-1", "volumes", "kubernetes.io~csi", "db")
	Expect(os.MkdirAll(filepath.Dir(config.TargetPath), 0o750)).To(Succeed())
	config.StagingPath = filepath.Join(dir, "staging")
	config.SecretsFile = filepath.Join(dir, "secrets.yaml")
	// JSON is YAML.
	secrets, err := json.Marshal(map[string]any{"NodePublishVolumeSecret": given.secrets})
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(config.SecretsFile, secrets, 0o600)).To(Succeed())

	driver, err := node.New(node.Config{
		NodeName: given.nodeName, Version: "test", Resolver: given.resolver, Registry: prometheus.NewRegistry(), KubeletDir: dir,
	})
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(logr.NewContext(context.Background(), testr.New(t)))
	ended := make(chan error, 1)
	go func() { ended <- driver.Run(ctx) }()
	front := startFront(filepath.Join(dir, "front.sock"), filepath.Join(dir, "plugins", "csi.sallyport.dev", "csi.sock"), given)
	config.Address = "unix:" + front.socket
	Eventually(front.ready).WithTimeout(10 * time.Second).Should(Succeed())
	return func() {
		front.stop()
		cancel()
		Expect(errors.Join(<-ended, given.stop())).To(Succeed())
		Expect(unix.Unmount(dir, 0)).To(Succeed(), "a volume is still mounted")
		Expect(os.Remove(dir)).To(Succeed())
	}
}
