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

// withUser gives the tenant a VaultConfig that logs in as a user of its own at a mount, for tokens that live for ttl
// and may be renewed for two days.
func (t *tenant) withUser(ctx context.Context, mount, name, ttl string) *v1alpha1.VaultConfig {
	GinkgoHelper()
	password := rand.Text()
	canaries.allowInSecrets("the password of a Vault user of "+t.namespace, password)
	_, err := vault.Logical().WriteWithContext(ctx, "auth/"+mount+"/users/"+name, map[string]any{
		"password": password, "token_policies": t.namespace, "token_ttl": ttl, "token_max_ttl": "48h",
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
// lets it be renewed, and end with the pod. Those of a minute, of a login of a minute, show that they are renewed; those
// of an hour, of a login of a day, that they are given back: nobody waits for their end here.
var _ = Describe("A credential which a program reads once", Ordered, Serial, func() {
	var (
		t           *tenant
		d           *database
		brief, long *v1alpha1.VaultConfig
		connections []client.Object
		pods        []*corev1.Pod
		mount       string
		crashed     time.Time // all controllers that run were started after it
	)

	BeforeAll(func(ctx SpecContext) {
		expectProductReady(ctx)
		t = newReadyTenant(ctx)
		d = newDatabase(ctx, t)
		mount = "userpass-" + t.namespace
		brief, long = t.withUser(ctx, mount, "carol", "60s"), t.withUser(ctx, mount, "dave", "24h")
		connections = []client.Object{
			d.connect(ctx, t, "minute", brief.Name, "minute"), d.connect(ctx, t, "hour", long.Name, "lasting"),
		}
		pods = append(t.startMany(ctx, "minute", 3), t.startMany(ctx, "hour", 2)...)
		for _, pod := range pods {
			expectRuns(ctx, pod, eventual)
			d.watchOnce(pod)
		}
		d.forbidLeases(ctx, "minute")
		d.forbidLeases(ctx, "lasting")
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
		crashed = time.Now()
		victims := systemPods(ctx, "controller")
		for i := range victims {
			kill(&victims[i])
			remove(ctx, &victims[i], client.GracePeriodSeconds(0))
		}
		expectProductReady(ctx)
		expectKept(ctx, 75*time.Second) // longer than lease and token of a minute live if nobody renews them
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
		together := append([]client.Object{
			&corev1.Secret{ObjectMeta: t.meta("carol")}, &corev1.Secret{ObjectMeta: t.meta("dave")}, brief, long,
		}, connections...)
		for _, object := range together {
			Expect(api.Delete(ctx, object)).To(Succeed())
		}
		for _, pod := range pods {
			Expect(api.Delete(ctx, pod)).To(Succeed())
		}
		Eventually(ctx, d.made).WithTimeout(40*time.Second).WithPolling(time.Second).Should(BeEmpty(), "users in PostgreSQL")
		d.expectNoLeases(ctx, "minute")
		d.expectNoLeases(ctx, "lasting")
	}, SpecTimeout(2*atLast))

	It("leaves no token of the controllers that ran last, and of each former one a token at most", func(ctx SpecContext) {
		rollController(ctx) // whoever stops revokes at once what would be kept for ten minutes to revoke leases with
		login := "auth/" + mount + "/login/"
		Eventually(ctx, func() int { return livingTokens(ctx, login+"dave", crashed) }).WithTimeout(eventual).
			Should(BeZero(), "tokens that would live for a day")
		Expect(livingTokens(ctx, login+"dave", time.Time{})).
			To(BeNumerically("<=", 4), "of the two replicas before the roll-out, and of those that crashed")
		Eventually(ctx, func() int { return livingTokens(ctx, login+"carol", time.Time{}) }).WithTimeout(atLast).
			Should(BeZero(), "tokens that live for a minute if nobody renews them")
	}, SpecTimeout(3*atLast))
})
