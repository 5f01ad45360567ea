package vault_test

import (
	"context"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("Logging in", func() {
	var f *fixture

	BeforeEach(func() {
		f = newFixture()
		server.PutKV("secret/data/db", map[string]any{"password": canary})
	})

	read := func(ctx context.Context, session *session.Session) error {
		_, err := secrets.Read(ctx, session, at("db"))
		return err
	}

	It("happens once for callers who come together", func(ctx context.Context) {
		proxy.Inject(env.Fault{Path: "auth/token/lookup-self", Delay: 300 * time.Millisecond})
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				defer GinkgoRecover()
				Expect(read(ctx, f.session(ctx))).To(Succeed())
			})
		}
		group.Wait()
		Expect(logins()).To(Equal(1))
		Expect(f.secretReads.Load()).To(Equal(int64(1)))
		Expect(proxy.Counts()).To(HaveKeyWithValue("GET secret/data/db", 50))
	})

	It("is not ended by the first caller giving up", func(ctx context.Context) {
		release := make(chan struct{})
		proxy.Inject(env.Fault{Path: "auth/token/lookup-self", Until: release})
		impatient, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		done := make(chan error)
		go func() {
			_, err := f.sessions.For(impatient, f.config)
			done <- err
		}()
		Eventually(logins).Should(Equal(1))
		Expect(f.said(<-done, v1alpha1.ReasonVaultUnreachable)).To(Equal("no login in the time that the caller allows " + as +
			"; check that Vault answers in time, and whether it is overloaded"))
		close(release)
		session := f.session(ctx)
		Expect(read(ctx, session)).To(Succeed())
		Expect(logins()).To(Equal(1))
	})

	It("describes the token", func(ctx context.Context) {
		f.setToken(
			f.token(
				env.TokenOptions{
					Policies: []string{"reader", "writer"}, TTL: time.Hour, ExplicitMaxTTL: 3 * time.Hour, NumUses: 100,
				},
			),
		)
		info := f.session(ctx).Token()
		Expect(info.ExpireTime).To(BeTemporally("~", f.clock.Now().Add(time.Hour), 5*time.Second))
		Expect(info.CreationTTL).To(Equal(time.Hour))
		Expect(info.TTL).To(BeNumerically("~", time.Hour, 5*time.Second))
		Expect(info.Renewable).To(BeTrue())
		Expect(info.Policies).To(Equal([]string{"default", "reader", "writer"}))
		Expect(info.LastRenewal).To(BeZero())
		Expect(info.MaxTTLReached).To(BeFalse())
		Expect(info.Type).To(Equal("service"))
		Expect(info.NumUses).To(BeNumerically(">", 90))
	})

	It("describes a root token and a batch token", func(ctx context.Context) {
		f.setToken(f.token(env.TokenOptions{Policies: []string{"root"}}))
		Expect(
			f.session(ctx).Token(),
		).To(And(HaveField("Policies", []string{"root"}), HaveField("Type", "service"), HaveField("ExpireTime", time.Time{}),
			HaveField(
				"CreationTTL", time.Duration(0),
			), HaveField("Renewable", false), HaveField("MaxTTLReached", false), HaveField("Opaque", false)))
		Expect(f.session(ctx).NextRenewal()).To(BeZero())
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, Batch: true, TTL: time.Hour}))
		f.later(time.Minute)
		Expect(f.session(ctx).Token()).To(And(HaveField("Type", "batch"), HaveField("Renewable", false)))
		Expect(f.session(ctx).NextRenewal()).To(BeZero())
	})

	Describe("when the Secret", func() {
		DescribeTable("holds no usable token, says where to put one",
			func(ctx context.Context, change func(), reason, sentence string) {
				change()
				_, err := f.sessions.For(ctx, f.config)
				Expect(f.said(err, reason)).To(Equal(sentence))
				Expect(proxy.Counts()).To(BeEmpty())
			},
			Entry("is missing", func() { f.config.Spec.Auth.Token.SecretKeyRef.Name = "none" }, v1alpha1.ReasonCredentialMissing,
				"Secret shop/none does not exist (VaultConfig shop/prod); create it"),
			Entry("lacks the key", func() { f.config.Spec.Auth.Token.SecretKeyRef.Key = "other" },
				v1alpha1.ReasonCredentialMissing,
				`Secret shop/vault-token has no key "other" (VaultConfig shop/prod); add it`),
			Entry("is empty", func() { f.setToken("  \n") }, v1alpha1.ReasonCredentialMissing,
				`Secret shop/vault-token, key "token" is empty (VaultConfig shop/prod); put a Vault token there`),
			Entry("holds two words", func() {
				f.tokens = []string{"hvs.aaaa"}
				f.setToken("hvs.aaaa bbbb")
			}, v1alpha1.ReasonInvalidSpec,
				`Secret shop/vault-token, key "token" holds white space or characters that a Vault token cannot have (VaultConfig shop/prod); put the token alone there`),
			Entry("holds binary data", func() { f.setToken("hvs.\x00\xff") }, v1alpha1.ReasonInvalidSpec,
				`Secret shop/vault-token, key "token" holds white space or characters that a Vault token cannot have (VaultConfig shop/prod); put the token alone there`),
		)

		It("names no auth method, says so", func(ctx context.Context) {
			f.config.Spec.Auth.Token = nil
			_, err := f.sessions.For(ctx, f.config)
			Expect(f.said(err, v1alpha1.ReasonInvalidSpec)).To(Equal(
				"spec.auth: no method is set; set one of token, kubernetes, jwt, appRole, userPass, ldap and cert (VaultConfig shop/prod)"))
		})

		It("gets another token, uses it within a minute", func(ctx context.Context) {
			session := f.session(ctx)
			f.setToken(f.token(env.TokenOptions{Policies: []string{"reader", "writer"}}))
			Expect(read(ctx, f.session(ctx))).To(Succeed())
			Expect(session.Token().Policies).NotTo(ContainElement("writer"))
			reads := f.secretReads.Load()
			f.later(59 * time.Second)
			Expect(read(ctx, f.session(ctx))).To(Succeed())
			Expect(f.secretReads.Load()).To(Equal(reads))
			f.later(2 * time.Second)
			Expect(read(ctx, session)).To(Succeed()) // a session that was kept follows too
			Expect(session.Token().Policies).To(ContainElement("writer"))
			Expect(f.session(ctx)).To(BeIdenticalTo(session))
			Expect(logins()).To(Equal(2))
		})

		It("is written again with the same token, does not log in again", func(ctx context.Context) {
			session := f.session(ctx)
			f.setToken(f.tokens[0] + "  ")
			f.later(2 * time.Minute)
			Expect(read(ctx, session)).To(Succeed())
			Expect(logins()).To(Equal(1))
		})

		It("is deleted, stops using the token within a minute", func(ctx context.Context) {
			session := f.session(ctx)
			f.config.Spec.Auth.Token.SecretKeyRef.Name = "changes nothing without a new generation"
			Expect(f.kubernetes.DeleteAllOf(ctx, secretOf("shop"), inNamespace("shop"))).To(Succeed())
			f.later(2 * time.Minute)
			Expect(
				f.said(read(ctx, session), v1alpha1.ReasonCredentialMissing),
			).To(HavePrefix("Secret shop/vault-token does not exist"))
		})
	})

	It("goes on with the token while the Kubernetes API is down", func(ctx context.Context) {
		session := f.session(ctx)
		f.kubernetesDown.Store(true)
		f.later(2 * time.Minute)
		Expect(read(ctx, session)).To(Succeed())
		_, err := f.sessions.For(ctx, newFixtureConfig(f))
		Expect(f.said(err, v1alpha1.ReasonInternal)).To(Equal("reading Secret shop/vault-token (VaultConfig shop/prod): connection refused"))
	})

	It("happens again when the spec changes, never for an older copy of it", func(ctx context.Context) {
		old := f.session(ctx)
		stale := f.config.DeepCopy()
		f.config.Generation = 2
		f.config.Spec.URL = server.URL()
		session := f.session(ctx)
		Expect(session).NotTo(BeIdenticalTo(old))
		Expect(read(ctx, session)).To(Succeed())
		Expect(proxy.Counts()).NotTo(HaveKey("GET secret/data/db"))
		Expect(f.sessions.For(ctx, stale)).To(BeIdenticalTo(session))
	})

	It("starts anew after Forget", func(ctx context.Context) {
		session := f.session(ctx)
		f.sessions.Forget(f.config.UID)
		Expect(f.session(ctx)).NotTo(BeIdenticalTo(session))
		Expect(read(ctx, session)).To(Succeed()) // whoever still holds it can finish
		Consistently(func() error { return read(ctx, f.session(ctx)) }).WithTimeout(500*time.Millisecond).
			Should(Succeed(), "a token that somebody put into a Secret is never revoked")
		Expect(logins()).To(Equal(2))
	})

	Describe("when Vault denies a request", func() {
		It("uses at once the token that replaced a revoked one", func(ctx context.Context) {
			session := f.session(ctx)
			server.Revoke(f.tokens[0])
			f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}}))
			Expect(read(ctx, session)).To(Succeed())
			Expect(logins()).To(Equal(2))
		})

		It("says that the token is dead, and tries nothing until the Secret changes", func(ctx context.Context) {
			session := f.session(ctx)
			server.Revoke(f.tokens[0])
			sentence := "GET auth/token/lookup-self → 403 the token is unknown, expired or revoked " + as +
				`; put a new token into Secret shop/vault-token, key "token"`
			Expect(f.said(read(ctx, session), v1alpha1.ReasonAuthFailed)).To(Equal(sentence))

			proxy.Reset()
			reads := f.secretReads.Load()
			Expect(f.said(read(ctx, session), v1alpha1.ReasonAuthFailed)).To(Equal(sentence))
			_, err := f.sessions.For(ctx, f.config)
			Expect(f.said(err, v1alpha1.ReasonAuthFailed)).To(Equal(sentence))
			Expect(f.said(session.Renew(ctx), v1alpha1.ReasonAuthFailed)).To(Equal(sentence))
			Expect(proxy.Counts()).To(BeEmpty())
			Expect(f.secretReads.Load()).To(Equal(reads + 3))

			f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}}))
			Expect(read(ctx, session)).To(Succeed())
		})

		It("says so of a token that was never one", func(ctx context.Context) {
			f.setToken("hvs.never")
			for range 3 {
				_, err := f.sessions.For(ctx, f.config)
				Expect(f.said(err, v1alpha1.ReasonAuthFailed)).To(ContainSubstring("the token is unknown, expired or revoked"))
			}
			Expect(logins()).To(Equal(1))
		})

		It("asks about the token once for callers who are denied together", func(ctx context.Context) {
			session := f.session(ctx)
			server.Revoke(f.tokens[0])
			proxy.Reset()
			proxy.Inject(env.Fault{Path: "auth/token/lookup-self", Delay: 500 * time.Millisecond})
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					defer GinkgoRecover()
					f.said(read(ctx, session), v1alpha1.ReasonAuthFailed)
				})
			}
			group.Wait()
			Expect(logins()).To(Equal(1))
		})

		It("keeps the token when only the policy is missing", func(ctx context.Context) {
			session := f.session(ctx)
			_, err := secrets.Read(
				ctx, session, secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion1},
			)
			f.said(err, v1alpha1.ReasonPermissionDenied)
			Expect(read(ctx, session)).To(Succeed())
			Expect(logins()).To(Equal(2)) // at login, and to tell the policy from the token
		})
	})

	It("does not ask about a token that is past its life and cannot have been renewed", func(ctx context.Context) {
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, TTL: time.Hour, NotRenewable: true}))
		session := f.session(ctx)
		f.later(2 * time.Hour)
		proxy.Reset()
		Expect(f.said(read(ctx, session), v1alpha1.ReasonAuthFailed)).To(MatchRegexp(
			`^the token expired at \S+Z \(VaultConfig shop/prod, auth token\); put a new token into Secret shop/vault-token, key "token"$`))
		Expect(proxy.Counts()).To(BeEmpty())
	})

	It("asks about a token that another replica may have renewed", func(ctx context.Context) {
		f.setToken(f.token(env.TokenOptions{Policies: []string{"reader"}, TTL: time.Hour}))
		session := f.session(ctx)
		f.later(2 * time.Hour) // by this replica's clock; in Vault it lives on
		Expect(read(ctx, session)).To(Succeed())
		Expect(session.Token().ExpireTime).To(BeTemporally(">", f.clock.Now()))
		Expect(logins()).To(Equal(2))
	})
})
