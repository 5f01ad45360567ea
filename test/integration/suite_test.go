// Package integration tests the controllers and the resolver against a real API server and a real Vault. What a kubelet
// would do, the tests do themselves; a real one comes in at test/e2e.
package integration

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"sallyport.dev/sallyport/test/env"
)

// Shared by all specs; each works in a namespace and under Vault paths of its own.
var (
	ctx     = context.Background()
	cp      *env.ControlPlane
	vault   *env.Vault
	node    *env.Node
	replica *env.Controller
	traces  *env.Traces
	logs    = &env.Log{}
	log     logr.Logger
)

func TestIntegration(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(45 * time.Second) // back-off of up to 15 s, on a machine that may be busy
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Integration: controllers and resolver, real API server, real Vault")
}

var _ = BeforeSuite(func() {
	// Everything is logged, at the most talkative level, and searched for secrets in the end.
	log = zap.New(zap.WriteTo(logs), zap.UseDevMode(true), zap.Level(zapLevel(5)))
	ctrl.SetLogger(log)

	var err error
	cp, err = env.StartControlPlane(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cp.Stop()).To(Succeed()) })

	vault, err = env.StartVault(ctx)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(vault.Close)
	vault.Policy("all-secrets", `
		path "secret/*" { capabilities = ["create", "read", "update"] }
		path "kv/*"     { capabilities = ["create", "read", "update"] }
		path "transit/*" { capabilities = ["read"] }`)
	vault.Policy("everything", `path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }`)

	node, err = cp.CreateNode(ctx, "node-a")
	Expect(err).NotTo(HaveOccurred())
	traces, err = env.StartTraces()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(traces.Stop)
	traced, err := traces.Context(ctx, "sallyport-controller", log)
	Expect(err).NotTo(HaveOccurred())
	replica, err = cp.StartController(traced, "sallyport-controller-0", log)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(replica.Stop()).To(Succeed()) })
})

// newNamespace creates a namespace for one spec.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spec-"}}
	Expect(cp.Client.Create(ctx, namespace)).To(Succeed())
	return namespace.Name
}

// canaries are all values that may never appear, with the line of the spec that has each.
var canaries struct {
	sync.Mutex
	values map[string]string
}

const canaryPrefix = "canary-"

// canary returns a secret value that no log, event, condition or error may ever hold; never_appears_test.go looks for
// all of them.
func canary() string {
	value := canaryPrefix + rand.Text()
	rememberFrom(2, value)
	return value
}

// remember makes a value, such as a Vault token, one that may never appear.
func remember(value string) { rememberFrom(2, value) }

func rememberFrom(callers int, value string) {
	_, file, line, _ := runtime.Caller(callers)
	canaries.Lock()
	defer canaries.Unlock()
	if canaries.values == nil {
		canaries.values = map[string]string{}
	}
	canaries.values[value] = fmt.Sprintf("%s:%d", filepath.Base(file), line)
}
