//go:build linux

// Package mounted tests what a program finds in a volume: the node plugin mounts it for real, a replica of the
// controller resolves it, and API server and Vault are real ones. What a kubelet would do, the tests do themselves.
package mounted

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

// Shared by all specs; each works in a namespace and under Vault paths of its own.
var (
	ctx     = context.Background()
	cp      *env.ControlPlane
	vault   *env.Vault
	node    *env.Node
	replica *env.Controller
	plugin  *env.Plugin
	traces  *env.Traces
	logs    = &env.Log{}
)

// marker begins every secret value of this run, see newSecret.
var marker = "canary-" + rand.Text()

// newSecret returns a value that may stand in Vault and in mounted volumes and nowhere else.
func newSecret() string { return marker + "-" + rand.Text() }

func TestMounted(t *testing.T) {
	RegisterFailHandler(Fail)
	if !env.HasOwnMounts() {
		NewWithT(t).Expect(env.RunWithOwnMounts(t.Context())).To(Succeed())
		return
	}
	SetDefaultEventuallyTimeout(45 * time.Second) // back-off of up to 30 s, on a machine that may be busy
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Integration: mounted volumes, real API server, real Vault, real mounts")
}

var _ = BeforeSuite(func() {
	log := zap.New(zap.WriteTo(io.MultiWriter(GinkgoWriter, logs)), zap.UseDevMode(true), zap.Level(zapcore.Level(-5)))
	ctrl.SetLogger(log)
	var err error
	cp, err = env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cp.Stop()).To(Succeed()) })
	vault, err = env.StartVault(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(vault.Close)
	vault.Policy("all-secrets", `path "secret/*" { capabilities = ["read"] }
		path "transit/*" { capabilities = ["read"] }`)
	node, err = cp.CreateNode(ctx, "node-a")
	Expect(err).NotTo(HaveOccurred())
	traces, err = env.StartTraces()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(traces.Stop)
	controller, err := traces.Context(ctx, "sallyport-controller", log)
	Expect(err).NotTo(HaveOccurred())
	replica, err = cp.StartController(controller, "sallyport-controller-0", log)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(replica.Stop()).To(Succeed()) })
	onNode, err := traces.Context(ctx, "sallyport-node", log)
	Expect(err).NotTo(HaveOccurred())
	plugin, err = node.StartPlugin(onNode, replica, log)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(plugin.Stop()).To(Succeed()) })
})

var _ = AfterSuite(func() {
	if plugin == nil {
		return
	}
	texts := map[string]string{"logs": logs.String(), "traces": traces.Bytes()}
	for kind, list := range map[string]client.ObjectList{
		"VaultConfigs": &v1alpha1.VaultConfigList{}, "Connections": &v1alpha1.ConnectionList{}, "events": &eventsv1.EventList{}, "pods": &corev1.PodList{},
	} {
		Expect(cp.Client.List(ctx, list)).To(Succeed())
		encoded, err := json.Marshal(list)
		Expect(err).NotTo(HaveOccurred())
		texts[kind] = string(encoded)
	}
	for _, registry := range []prometheus.Gatherer{metrics.Registry, plugin.Registry} {
		families, err := registry.Gather()
		Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			texts["metrics"] += family.String() + "\n"
		}
	}
	Expect(texts["logs"]).To(And(ContainSubstring("serving the resolver"), ContainSubstring("Volume published")), "the search can find something")
	Expect(texts["metrics"]).To(And(ContainSubstring("sallyport_node_"), ContainSubstring("sallyport_resolver_")))
	Expect(texts["traces"]).To(And(ContainSubstring("publish"), ContainSubstring("vault read")))
	Expect(texts["traces"]).NotTo(Or(ContainSubstring("secret/data"), ContainSubstring("hvs.")), "no path and no token")
	for where, text := range texts {
		Expect(strings.Contains(text, marker)).To(BeFalse(), "a secret stands in the %s", where)
	}
})

// filesIn returns what a program that reads a directory's files finds.
func filesIn(dir string) map[string]string {
	GinkgoHelper()
	entries, err := os.ReadDir(dir)
	Expect(err).NotTo(HaveOccurred())
	found := map[string]string{}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		Expect(err).NotTo(HaveOccurred())
		found[entry.Name()] = string(content)
	}
	return found
}
