package vault_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("Renewing", func() {
	var f *fixture

	BeforeEach(func() { f = newFixture() })

	const renewals = "POST auth/token/renew-self"

	It("is due at about two thirds of the lease, and asks for the whole life again", func(ctx context.Context) {
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, TTL: time.Hour}))
		session := f.session(ctx)
		due := session.NextRenewal()
		Expect(due).To(BeTemporally(">=", f.clock.Now().Add(33*time.Minute)))
		Expect(due).To(BeTemporally("<=", f.clock.Now().Add(40*time.Minute)))
		f.later(time.Second)
		Expect(session.NextRenewal()).To(Equal(due))

		f.later(40 * time.Minute)
		Expect(session.Renew(ctx)).To(Succeed())
		info := session.Token()
		Expect(info.ExpireTime).To(BeTemporally("~", f.clock.Now().Add(time.Hour), time.Second))
		Expect(info.LastRenewal).To(BeTemporally("==", f.clock.Now()))
		Expect(info.TTL).To(Equal(time.Hour))
		Expect(info.MaxTTLReached).To(BeFalse())
		Expect(info.Policies).To(Equal([]string{"default", "reader"}))
		Expect(session.NextRenewal()).To(BeTemporally(">", f.clock.Now()))
		Expect(proxy.Counts()).To(HaveKeyWithValue(renewals, 1))
		Expect(logins()).To(Equal(1))
	})

	It("happens once for callers who come together", func(ctx context.Context) {
		session := f.session(ctx)
		const callers = 10
		came := make(chan struct{})
		proxy.Inject(env.Fault{Path: "auth/token/renew-self", Until: came, Delay: 300 * time.Millisecond})
		var begun atomic.Int64
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				defer GinkgoRecover()
				begun.Add(1)
				Expect(session.Renew(ctx)).To(Succeed())
			})
		}
		Eventually(begun.Load).Should(BeEquivalentTo(callers))
		close(came)
		group.Wait()
		Expect(proxy.Counts()).To(HaveKeyWithValue(renewals, 1))
	})

	It("notices that the max TTL caps it, and stops", func(ctx context.Context) {
		f.setToken(
			f.token(env.TokenOptions{Policies: []string{"reader"}, TTL: 30 * time.Second, ExplicitMaxTTL: 42 * time.Second}),
		)
		session := f.session(ctx)
		Expect(session.Token().MaxTTLReached).To(BeFalse())
		Expect(session.NextRenewal()).NotTo(BeZero())
		// Real time, because Vault says what is left: all that was asked for at first, less when half of the max TTL
		// has passed.
		Expect(session.Renew(ctx)).To(Succeed())
		Expect(session.Token().MaxTTLReached).To(BeFalse())
		Eventually(func(g Gomega) {
			g.Expect(session.Renew(ctx)).To(Succeed())
			g.Expect(session.Token().MaxTTLReached).To(BeTrue())
		}).WithPolling(time.Second).Should(Succeed())
		Expect(session.NextRenewal()).To(BeZero())
		proxy.Reset()
		Expect(session.Renew(ctx)).To(Succeed())
		Expect(proxy.Counts()).To(BeEmpty())

		By("knowing it from the start in a new process")
		restarted := newFixture()
		restarted.setToken(f.tokens[len(f.tokens)-1])
		Expect(restarted.session(ctx).Token().MaxTTLReached).To(BeTrue())
		Expect(restarted.session(ctx).NextRenewal()).To(BeZero())
	})

	It("goes on for ever with a periodic token", func(ctx context.Context) {
		// More than Vault's max lease TTL.
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, Period: 2000 * time.Hour}))
		session := f.session(ctx)
		Expect(session.Renew(ctx)).To(Succeed())
		Expect(session.Token().MaxTTLReached).To(BeFalse())
		Expect(session.NextRenewal()).NotTo(BeZero())
	})

	It("does nothing for tokens that cannot be renewed", func(ctx context.Context) {
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, TTL: time.Hour, NotRenewable: true}))
		session := f.session(ctx)
		Expect(session.NextRenewal()).To(BeZero())
		Expect(session.Renew(ctx)).To(Succeed())
		Expect(proxy.Counts()).NotTo(HaveKey(renewals))
	})

	It("keeps token and schedule when it fails", func(ctx context.Context) {
		session := f.session(ctx)
		before, due := session.Token(), session.NextRenewal()
		proxy.Inject(
			env.Fault{
				Path: "auth/token/renew-self", Status: 500, ContentType: "application/json", Body: `{"errors":["internal error"]}`,
			},
		)
		Expect(f.said(session.Renew(ctx), v1alpha1.ReasonVaultError)).To(Equal(
			"POST auth/token/renew-self → 500 an error inside Vault " + as + "; Vault's own log says more"))
		Expect(session.Token()).To(Equal(before))
		Expect(session.NextRenewal()).To(Equal(due))
	})

	It("says that the token is dead", func(ctx context.Context) {
		session := f.session(ctx)
		server.Revoke(f.tokens[0])
		Expect(f.said(session.Renew(ctx), v1alpha1.ReasonAuthFailed)).To(ContainSubstring("the token is unknown, expired or revoked"))
	})
})
