package e2e

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// withUser gives the tenant a VaultConfig that logs in as a user of its own at a mount, for tokens that live for a minute
// and may be renewed for an hour.
func (t *tenant) withUser(ctx context.Context, mount, name string) *v1alpha1.VaultConfig {
	GinkgoHelper()
	password := rand.Text()
	canaries.allowInSecrets("the password of a Vault user of "+t.namespace, password)
	_, err := vault.Logical().WriteWithContext(ctx, "auth/"+mount+"/users/"+name, map[string]any{
		"password": password, "token_policies": t.namespace, "token_ttl": "60s", "token_max_ttl": "1h",
	})
	Expect(err).NotTo(HaveOccurred())
	config := t.vaultConfig(name)
	config.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{
		Mount: v1alpha1.MountPath(mount), Username: name, PasswordSecretKeyRef: v1alpha1.SecretKeyReference{Name: name, Key: "password"},
	}}
	create(ctx, builder.Secret(t.namespace, name, map[string]string{"password": password}), config)
	expectReady(ctx, config)
	return config
}

// A program that reads its files once has no other credential: what its first one is must stay so for as long as Vault
// lets it be renewed, and end with the pod.
var _ = Describe("A credential of a minute, which a program reads once", Ordered, Serial, func() {
	var (
		t          *tenant
		d          *database
		config     *v1alpha1.VaultConfig
		connection *v1alpha1.Connection
		pods       []*corev1.Pod
		mount      string
	)

	BeforeAll(func(ctx SpecContext) {
		expectProductReady(ctx)
		t = newReadyTenant(ctx)
		d = newDatabase(ctx, t)
		mount = "userpass-" + t.namespace
		config = t.withUser(ctx, mount, "carol")
		connection = t.connection("minute", map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"},
			v1alpha1.VaultSecret{VaultConfigRef: v1alpha1.VaultConfigReference{Name: config.Name}, EnginePath: d.engine, SecretPath: "creds/minute"})
		create(ctx, connection)
		expectReady(ctx, connection)
		for range 3 {
			pods = append(pods, t.start(ctx, "minute"))
		}
		for _, pod := range pods {
			expectRuns(ctx, pod, eventual)
			d.watch(pod)
		}
		d.forbidLeases(ctx, "minute")
	}, NodeTimeout(4*eventual))

	expectKept := func(ctx context.Context, wait time.Duration) {
		GinkgoHelper()
		Consistently(ctx, d.failed).WithTimeout(wait).WithPolling(time.Second).Should(BeEmpty())
		for _, pod := range pods {
			Expect(d.had(pod)).To(HaveLen(1), "it is the first one")
		}
	}
	// keyNumbers are the numbers of the keys that the volumes' lease states are encrypted with.
	keyNumbers := func(g Gomega) (numbers []uint16) {
		for _, pod := range pods {
			content, err := os.ReadFile(filepath.Join(volumeDir(pod), "state.json"))
			g.Expect(err).NotTo(HaveOccurred())
			var state struct{ Leases []byte }
			g.Expect(json.Unmarshal(content, &state)).To(Succeed())
			g.Expect(len(state.Leases)).To(BeNumerically(">", 3))
			numbers = append(numbers, binary.BigEndian.Uint16(state.Leases[1:]))
		}
		return numbers
	}

	It("stays when the controllers are rolled out, and when all of them are killed", func(ctx SpecContext) {
		rollController(ctx)
		keepMetrics(ctx)
		victims := systemPods(ctx, "controller")
		for i := range victims {
			kill(&victims[i])
			remove(ctx, &victims[i], client.GracePeriodSeconds(0))
		}
		expectProductReady(ctx)
		expectKept(ctx, 75*time.Second) // longer than lease and token live if nobody renews them
	}, SpecTimeout(3*atLast))

	It("stays when the node plugin is replaced, and the key rotated that its lease state is encrypted with", func(ctx SpecContext) {
		keepMetrics(ctx)
		remove(ctx, plugin(ctx), client.GracePeriodSeconds(1))
		expectProductReady(ctx)
		key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "sallyport-lease-key"}}
		change(ctx, key, func(s *corev1.Secret) {
			s.Data["key-2"] = make([]byte, 32)
			_, _ = rand.Read(s.Data["key-2"])
		})
		Eventually(ctx, keyNumbers).WithTimeout(atLast).WithPolling(time.Second).Should(HaveEach(uint16(2)))
		change(ctx, key, func(s *corev1.Secret) { delete(s.Data, "key") })
		expectKept(ctx, 75*time.Second) // replicas read the Secret within a minute; every failed login since the start counts
	}, SpecTimeout(2*atLast))

	It("ends with the pod, though VaultConfig, Secret and Connection are deleted together with it", func(ctx SpecContext) {
		Expect(d.made()).To(HaveLen(len(pods)))
		d.stopWatching()
		secret := &corev1.Secret{ObjectMeta: t.meta("carol")}
		for _, object := range []client.Object{secret, config, connection} {
			Expect(api.Delete(ctx, object)).To(Succeed())
		}
		for _, pod := range pods {
			Expect(api.Delete(ctx, pod)).To(Succeed())
		}
		Eventually(ctx, d.made).WithTimeout(40*time.Second).WithPolling(time.Second).Should(BeEmpty(), "sooner than the lease would end")
	}, SpecTimeout(2*atLast))

	It("leaves no token behind", func(ctx SpecContext) {
		Eventually(ctx, func() int { return livingTokens(ctx, "auth/"+mount+"/login/carol") }).WithTimeout(atLast).Should(BeZero())
	}, SpecTimeout(2*atLast))
})
