//go:build linux

// Package sanity runs csi-sanity, the conformance tests of the Container Storage Interface, against the node plugin's
// real driver with real mounts: everything that a driver without a controller service can run, see skipped_test.go.
package sanity

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	csisanity "github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"

	"sallyport.dev/sallyport/internal/node"
	"sallyport.dev/sallyport/test/env"
)

func TestSanity(t *testing.T) {
	if !env.HasOwnMounts() {
		NewWithT(t).Expect(env.RunWithOwnMounts(t.Context())).To(Succeed())
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

// start starts the driver and what stands between it and the tests, and tells the tests where.
func start(t *testing.T, config *csisanity.TestConfig) (stop func()) {
	t.Helper()
	dir, removeDir, err := env.KubeletDir()
	Expect(err).NotTo(HaveOccurred())
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
	adapter := startAdapter(filepath.Join(dir, "adapter.sock"), filepath.Join(dir, "plugins", "csi.sallyport.dev", "csi.sock"), given)
	config.Address = "unix:" + adapter.socket
	Eventually(adapter.ready).WithTimeout(45 * time.Second).Should(Succeed())
	return func() {
		adapter.stop()
		cancel()
		Expect(errors.Join(<-ended, given.stop())).To(Succeed())
		Expect(removeDir()).To(Succeed(), "a volume is still mounted")
	}
}
