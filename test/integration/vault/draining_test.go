package vault_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

// leaseEngine issues certificates with a lease, to whom the policy "leases" allows it.
const leaseEngine = "pki-leases"

func mountLeaseEngine() {
	GinkgoHelper()
	server.Mount(leaseEngine, "pki")
	DeferCleanup(func() { server.Unmount(leaseEngine) })
	server.Write(leaseEngine+"/root/generate/internal", map[string]any{"common_name": "ca.test", "ttl": "24h"})
	server.Write(leaseEngine+"/roles/app", map[string]any{
		"allow_any_name": true, "generate_lease": true, "ttl": "2h", "key_type": "ec", "key_bits": 256,
	})
	server.Policy("leases", `path "`+leaseEngine+`/issue/app" { capabilities = ["update"] }
		path "sys/leases/revoke" { capabilities = ["update"] }`)
}

func issue(ctx context.Context, s *session.Session) *secrets.Issued {
	GinkgoHelper()
	issued, err := secrets.Issue(ctx, s, secrets.Location{
		EnginePath: leaseEngine, SecretPath: "issue/app", Write: true, Parameters: map[string]any{"common_name": "app.test"},
	})
	Expect(err).NotTo(HaveOccurred())
	return issued
}

func leaseLives(id secrets.LeaseID) bool {
	_, err := server.Client().Sys().Lookup(id.Reveal())
	return err == nil
}

var _ = Describe("A session with leases", func() {
	BeforeEach(mountLeaseEngine)

	draining := func(f *fixture) *session.Session {
		return f.sessions.Draining(client.ObjectKeyFromObject(f.config), session.VaultOf(f.config), types.NamespacedName{})
	}
	dropSecret := func(f *fixture, name string) {
		GinkgoHelper()
		Expect(f.kubernetes.Delete(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}})).
			To(Succeed())
	}

	It("can revoke them for ten minutes after its Secret is gone, or is no good, and does nothing else", func(ctx context.Context) {
		for name, spoil := range map[string]func(*fixture){
			"gone":     func(f *fixture) { dropSecret(f, "vault-token") },
			"replaced": func(f *fixture) { f.setToken("hvs." + canary) },
		} {
			By(name)
			f := newFixture()
			f.setToken(f.token(env.TokenOptions{Policies: []string{"reader", "leases"}}))
			Expect(draining(f)).To(BeNil())
			one, two := issue(ctx, f.session(ctx)), issue(ctx, f.session(ctx))
			spoil(f)
			f.later(2 * time.Minute)
			_, err := f.sessions.For(ctx, f.config)
			Expect(err).To(HaveOccurred())
			Expect(leaseLives(one.Lease.ID)).To(BeTrue())
			f.sessions.Forget(f.config.UID)
			last := draining(f)
			Expect(last).NotTo(BeNil())
			f.mute(last)
			Expect(secrets.RevokeLease(ctx, last, one.Lease.ID)).To(Succeed())
			Expect(leaseLives(one.Lease.ID)).To(BeFalse())
			_, err = f.sessions.For(ctx, f.config)
			Expect(err).To(HaveOccurred(), "nobody else has the token")

			f.later(10 * time.Minute)
			Expect(draining(f)).To(BeNil())
			Expect(leaseLives(two.Lease.ID)).To(BeTrue())
		}
	})

	It("logs in no more when it is gone, and gives the login's token up after ten minutes", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{})
		server.Write("auth/"+w.mount+"/users/bob", map[string]any{"token_policies": "reader,leases"})
		first := issue(ctx, w.session(ctx))
		w.sessions.Forget(w.config.UID)
		Expect(secrets.RevokeLease(ctx, draining(w.fixture), first.Lease.ID)).To(Succeed())
		Expect(leaseLives(first.Lease.ID)).To(BeFalse())
		server.RevokeAllFrom("auth/" + w.mount + "/login")
		w.said(secrets.RevokeLease(ctx, draining(w.fixture), first.Lease.ID), v1alpha1.ReasonPermissionDenied)
		Expect(w.logins()).To(Equal(1))
		w.later(11 * time.Minute)
		w.sessions.DropIdle()
		Expect(draining(w.fixture)).To(BeNil())
	})

	It("is kept for revocations only where there are leases", func(ctx context.Context) {
		f := newFixture()
		f.session(ctx)
		f.sessions.Forget(f.config.UID)
		Expect(draining(f)).To(BeNil())
	})
})
