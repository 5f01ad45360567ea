package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// soakPods is how many pods have a credential of a minute each, that may be renewed for an hour.
const soakPods = 20

// mishap is what happens now and then on a cluster. Each returns when it is over.
type mishap struct {
	name string
	do   func(ctx context.Context)
}

var mishaps = []mishap{
	{"the controllers are rolled out", rollController},
	{"the leader crashes", func(ctx context.Context) { kill(replica(ctx, true)) }},
	{"all controllers crash", func(ctx context.Context) {
		pods := systemPods(ctx, "controller")
		for i := range pods {
			kill(&pods[i])
			remove(ctx, &pods[i], client.GracePeriodSeconds(0))
		}
	}},
	{"the node plugin crashes", func(ctx context.Context) { kill(plugin(ctx)) }},
	{"the node plugin is replaced", func(ctx context.Context) { remove(ctx, plugin(ctx), client.GracePeriodSeconds(1)) }},
	{"Vault is away", func(ctx context.Context) {
		component(ctx, "stop", "vault")
		time.Sleep(5 * time.Second)
		component(ctx, "start", "vault")
		component(ctx, "vault-unseal")
	}},
}

// Only hack/test.sh soak runs it, for SALLYPORT_SOAK.
var _ = func() bool {
	soak, err := time.ParseDuration(os.Getenv("SALLYPORT_SOAK"))
	if err != nil {
		return false
	}
	return Describe("A soak of mishaps under pods with credentials of a real PostgreSQL", Serial, func() {
		It("refuses no login, and leaves no user, lease or token behind", func(ctx SpecContext) {
			expectProductReady(ctx)
			t := newReadyTenant(ctx)
			d := newDatabase(ctx, t)
			mount := "userpass-" + t.namespace
			config := t.withUser(ctx, mount, "carol")
			connection := t.connection("minute", map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"},
				v1alpha1.VaultSecret{VaultConfigRef: v1alpha1.VaultConfigReference{Name: config.Name}, EnginePath: d.engine, SecretPath: "creds/minute"})
			create(ctx, connection)
			expectReady(ctx, connection)
			pods := t.startMany(ctx, "minute", soakPods)
			for _, pod := range pods {
				expectRuns(ctx, pod, atLast)
				d.watch(pod)
			}

			random := rand.New(rand.NewPCG(uint64(GinkgoRandomSeed()), 0))
			for end := time.Now().Add(soak); time.Now().Before(end); {
				next := mishaps[random.IntN(len(mishaps))]
				By(next.name)
				keepMetrics(ctx)
				next.do(ctx)
				expectProductReady(ctx)

				By("a pod gives way to another")
				i := random.IntN(len(pods))
				d.unwatch(pods[i])
				remove(ctx, pods[i])
				pods[i] = t.start(ctx, "minute")
				expectRuns(ctx, pods[i], atLast)
				d.watch(pods[i])
				time.Sleep(time.Duration(random.IntN(20)) * time.Second)
				Expect(d.failed()).To(BeEmpty(), "logins with what stood in the files at that moment")
			}

			By("everything goes together")
			d.stopWatching()
			for _, object := range []client.Object{&corev1.Secret{ObjectMeta: t.meta("carol")}, config, connection} {
				Expect(api.Delete(ctx, object)).To(Succeed())
			}
			for _, pod := range pods {
				Expect(api.Delete(ctx, pod)).To(Succeed())
			}
			Expect(d.failed()).To(BeEmpty())
			Eventually(ctx, d.made).WithTimeout(2*time.Minute).WithPolling(time.Second).Should(BeEmpty(), "users in PostgreSQL")
			Eventually(ctx, func(g Gomega) {
				list, err := vault.Logical().ListWithContext(ctx, "sys/leases/lookup/"+d.engine+"/creds/minute")
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(list).To(BeNil(), "leases in Vault")
			}).WithTimeout(eventual).Should(Succeed())
			Eventually(ctx, func() int { return livingTokens(ctx, "auth/"+mount+"/login/carol") }).WithTimeout(atLast).
				Should(BeZero(), "tokens in Vault, which live for a minute")
		}, SpecTimeout(soak+20*time.Minute))
	})
}()
