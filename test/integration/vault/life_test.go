package vault_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A token obtained by login", func() {
	BeforeEach(func() { server.PutKV("secret/data/db", map[string]any{"password": canary + "db"}) })

	const (
		renewals = "POST auth/token/renew-self"
		lookups  = "GET auth/token/lookup-self"
		broken   = `{"errors":["internal error"]}`
	)

	It("is replaced before its max TTL ends it, and only then revoked", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{ttl: 30 * time.Second, maxTTL: 44 * time.Second})
		// In real time, because Vault says what is left. It is renewed after about 20 s, and replaced some 10 s before its end.
		began := time.Now()
		Eventually(func() int {
			w.clock.SetTime(time.Now())
			Expect(w.read(ctx)).To(Succeed())
			return w.logins()
		}).WithTimeout(90 * time.Second).WithPolling(100 * time.Millisecond).Should(Equal(2))
		Expect(time.Since(began)).To(BeNumerically(">", 30*time.Second), "the renewal made it live longer")
		Expect(w.read(ctx)).To(Succeed())
		Expect(proxy.Counts()).To(HaveKey(renewals))
		Expect(proxy.Counts()).NotTo(HaveKey(lookups), "no request was ever denied")
		Eventually(w.living).Should(Equal(1))
	})

	It("is used for as long as it lives when a new login fails, which is not tried at every request", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{tokenType: "batch"})
		session := w.session(ctx)
		Expect(session.Token()).To(And(HaveField("Type", "batch"), HaveField("Renewable", false)))
		Expect(session.NextRenewal()).NotTo(BeZero())

		w.later(45 * time.Minute)
		proxy.Inject(env.Fault{Path: "auth/" + w.mount, Status: 500, ContentType: "application/json", Body: broken})
		for range 5 {
			Expect(w.read(ctx)).To(Succeed())
		}
		Expect(w.said(session.Renew(ctx), v1alpha1.ReasonVaultError)).To(ContainSubstring("→ 500 an error inside Vault"))
		Expect(w.logins()).To(Equal(2))
		w.later(3 * time.Second)
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(3))

		By("logging in when Vault is well again")
		proxy.Heal()
		w.later(time.Minute)
		Expect(session.Renew(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(4))
		Expect(session.Token().ExpireTime).To(BeTemporally(">", w.clock.Now().Add(50*time.Minute)))
	})

	It("goes on for ever if it is periodic", func(ctx context.Context) {
		w := newAuthMethod(ctx, "appRole", "", terms{period: time.Hour})
		session := w.session(ctx)
		for range 5 {
			w.later(45 * time.Minute)
			Expect(session.Renew(ctx)).To(Succeed())
			Expect(session.Token().MaxTTLReached).To(BeFalse())
		}
		Expect(proxy.Counts()).To(HaveKeyWithValue(renewals, 5))
		Expect(w.logins()).To(Equal(1))
	})

	It("is replaced where its policies do not let it renew itself", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{noDefaultPolicy: true})
		session := w.session(ctx)
		w.later(45 * time.Minute)
		Expect(session.Renew(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(2))
	})

	It("is replaced when its uses are used up", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{uses: 4})
		Expect(w.session(ctx).Token().NumUses).To(Equal(4))
		for range 12 {
			Expect(w.read(ctx)).To(Succeed())
		}
		Expect(w.logins()).To(BeNumerically(">", 2))
	})

	It("is not renewed if autoRenew is false, and replaced when it is dead", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{})
		w.config.Spec.AutoRenew = new(false)
		w.session(ctx)
		w.later(59 * time.Minute)
		Expect(w.read(ctx)).To(Succeed())
		Expect(proxy.Counts()).NotTo(HaveKey(renewals))
		w.later(2 * time.Minute)
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(2))
	})

	It("follows a changed password within a minute, and at once after a failure", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{})
		Expect(w.read(ctx)).To(Succeed())
		change := func(to string) {
			server.Write("auth/"+w.mount+"/users/bob/password", map[string]any{"password": to})
			w.setSecret("bob", "password", to)
		}
		change(canary + "second")
		w.later(time.Minute)
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(2))
		Eventually(w.living).Should(Equal(1), "the former token is revoked")

		change(canary + "third")
		server.RevokeAllFrom("auth/" + w.mount + "/login")
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(3))
	})

	It("lives on when the spec changes in what does not concern the login, and is revoked when it does", func(ctx context.Context) {
		w := newAuthMethod(ctx, "appRole", "", terms{})
		first := w.session(ctx)
		w.config.Generation++
		w.config.Spec.Enabled, w.config.Spec.EnginePath = new(false), "secret"
		second := w.session(ctx)
		Expect(second).NotTo(BeIdenticalTo(first))
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(1))
		Consistently(w.living).WithTimeout(500 * time.Millisecond).Should(Equal(1))

		w.config.Generation++
		w.config.Spec.Auth.AppRole.SecretIDSecretKeyRef.Name = "other"
		w.setSecret("other", "id", w.secretID())
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(2))
		Eventually(w.living).Should(Equal(1))
	})

	It("is one for each replica, and revoked only by its own", func(ctx context.Context) {
		w := newAuthMethod(ctx, "kubernetes", "", terms{})
		Expect(w.read(ctx)).To(Succeed())
		mine := w.sessions
		w.newSessions(session.Options{Kubernetes: theAPIServer().Clients})
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.living()).To(Equal(2))
		mine.Forget(w.config.UID)
		Eventually(w.living).Should(Equal(1))
		Expect(w.read(ctx)).To(Succeed())
		Expect(w.logins()).To(Equal(2))
	})

	It("is revoked in the end if Vault is down when nobody needs it any more", func(ctx context.Context) {
		w := newAuthMethod(ctx, "appRole", "", terms{})
		Expect(w.read(ctx)).To(Succeed())
		proxy.Inject(env.Fault{Path: "auth/token/revoke-self", CloseBefore: true, Times: 1})
		w.sessions.Forget(w.config.UID)
		Eventually(w.living).Should(BeZero())
	})

	It("serves who still holds a session that was dropped, and is revoked when they are done", func(ctx context.Context) {
		w := newAuthMethod(ctx, "appRole", "", terms{})
		session := w.session(ctx)
		w.sessions.Forget(w.config.UID)
		Eventually(w.living).Should(BeZero())
		_, err := secrets.Read(ctx, session, at("db"))
		Expect(err).NotTo(HaveOccurred())
		Eventually(w.living).Should(BeZero())
	})

	Describe("that Vault denies something", func() {
		It("leads to no new login while it lives, but to one later, for its role may have got new policies", func(ctx context.Context) {
			w := newAuthMethod(ctx, "kubernetes", "", terms{})
			server.Policy("late", `path "secret/data/late" { capabilities = ["read"] }`)
			server.PutKV("secret/data/late", map[string]any{"a": canary + "b"})
			server.Policy("reader-of-db", `path "secret/data/db" { capabilities = ["read"] }`)
			server.Write("auth/"+w.mount+"/role/app", map[string]any{"token_policies": "reader-of-db",
				"bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "audience": "vault"})
			session := w.session(ctx)
			late := func() error {
				_, err := secrets.Read(ctx, session, at("late"))
				return err
			}
			for range 5 {
				w.said(late(), v1alpha1.ReasonPermissionDenied)
			}
			Expect(w.logins()).To(Equal(1))
			server.Write("auth/"+w.mount+"/role/app", map[string]any{"token_policies": "reader-of-db,late",
				"bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "audience": "vault"})
			w.said(late(), v1alpha1.ReasonPermissionDenied)
			w.later(5 * time.Minute)
			Expect(late()).To(Succeed())
			Expect(w.logins()).To(Equal(2))
			Eventually(w.living).Should(Equal(1))
		})
	})

	It("is used until it dies when the next login is rejected", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{tokenType: "batch"})
		session := w.session(ctx)
		server.Write("auth/"+w.mount+"/users/bob/password", map[string]any{"password": canary + "changed"})
		w.later(45 * time.Minute)
		Expect(w.read(ctx)).To(Succeed())
		w.said(session.Renew(ctx), v1alpha1.ReasonAuthFailed)
		Expect(session.Token().ExpireTime).To(BeTemporally(">", w.clock.Now()))
		w.later(14 * time.Minute)
		Expect(w.read(ctx)).To(Succeed())
		w.later(time.Minute)
		w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
		Expect(w.logins()).To(Equal(2), "the rejected login is not repeated")
	})

	Describe("whose login is rejected", func() {
		It("is asked for again rarely where Vault counts that, and at once with another password", func(ctx context.Context) {
			w := newAuthMethod(ctx, "userPass", "", terms{})
			w.lockout(map[string]any{"lockout_disable": true}) // Vault's clock does not follow this one
			w.setSecret("bob", "password", canary+"wrong")
			var tried []time.Duration
			begin := w.clock.Now()
			for range 9 * 60 {
				before := w.logins()
				w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
				if w.logins() > before {
					tried = append(tried, w.clock.Now().Sub(begin))
				}
				w.later(10 * time.Second)
			}
			Expect(tried).To(Equal([]time.Duration{
				0, 5 * time.Minute, 25 * time.Minute, 45 * time.Minute, 65 * time.Minute, 85 * time.Minute,
			}))

			By("not even when the spec changes in something else")
			w.config.Generation++
			w.config.Spec.EnginePath = "kv"
			w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
			Expect(w.logins()).To(Equal(len(tried)))

			w.setSecret("bob", "password", password)
			Expect(w.read(ctx)).To(Succeed())
			Expect(w.logins()).To(Equal(len(tried) + 1))
		})

		It("is asked for again at a slow pace where that can lock nobody out", func(ctx context.Context) {
			w := newAuthMethod(ctx, "jwt", "", terms{})
			w.config.Spec.Auth.JWT.Role = "later"
			var tried []time.Duration
			begin := w.clock.Now()
			for range 900 {
				before := w.logins()
				w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
				if w.logins() > before {
					tried = append(tried, w.clock.Now().Sub(begin))
				}
				w.later(time.Second)
			}
			Expect(tried).To(
				Equal(
					[]time.Duration{0, 30 * time.Second, 90 * time.Second, 210 * time.Second, 450 * time.Second, 750 * time.Second},
				),
			)
			server.Write(
				"auth/"+w.mount+"/role/later",
				with(terms{}.fields(), "role_type", "jwt", "user_claim", "sub", "bound_audiences", "vault"),
			)
			w.later(5 * time.Minute)
			Expect(w.read(ctx)).To(Succeed())
		})
	})
})

var _ = Describe("A wrapped secret ID", func() {
	BeforeEach(func() { server.PutKV("secret/data/db", map[string]any{"password": canary + "db"}) })

	wrapped := func(ctx context.Context, t terms) *authMethod {
		w := newAuthMethod(ctx, "appRole", "", t)
		w.config.Spec.Auth.AppRole.SecretIDWrapped = new(true)
		return w
	}
	const source = `Secret shop/approle, key "id"`
	const cure = "; put a new wrapping token for each replica of the controller into " + source

	It("is unwrapped once by each replica, and kept for later logins", func(ctx context.Context) {
		w := wrapped(ctx, terms{ttl: 10 * time.Hour})
		two := w.wrapping() + "\n" + w.wrapping() + "\n"
		w.setSecret("approle", "id", two)
		Expect(w.read(ctx)).To(Succeed())
		mine := w.sessions
		w.newSessions(session.Options{})
		Expect(w.read(ctx)).To(Succeed())
		Expect(proxy.Counts()).To(HaveKeyWithValue("POST sys/wrapping/unwrap", 2))

		By("telling a third that there is none for it")
		theirs := w.sessions
		w.newSessions(session.Options{})
		sentence := "no wrapping token in " + source + " works: each was used or has expired " + w.as() + cure
		Expect(w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)).To(Equal(sentence))
		proxy.Reset()
		Expect(w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)).To(Equal(sentence))
		Expect(proxy.Counts()).To(BeEmpty())

		By("disturbing nobody with a new line for it")
		w.setSecret("approle", "id", two+w.wrapping())
		Expect(w.read(ctx)).To(Succeed())
		third := w.sessions
		proxy.Reset()
		for _, sessions := range []*session.Sessions{mine, theirs, third} {
			w.sessions = sessions
			w.later(2 * time.Minute)
			Expect(w.read(ctx)).To(Succeed())
		}
		Expect(w.logins()).To(BeZero())

		By("logging in again with what is in memory")
		server.RevokeAllFrom("auth/" + w.mount + "/login")
		Expect(w.read(ctx)).To(Succeed())
		Expect(proxy.Counts()).NotTo(HaveKey("POST sys/wrapping/unwrap"))
		Expect(w.logins()).To(Equal(1))
	})

	It("that comes from elsewhere is not opened", func(ctx context.Context) {
		w := wrapped(ctx, terms{})
		foreign := server.Wrap("auth/token/create", time.Minute)
		w.tokens = append(w.tokens, foreign)
		w.setSecret("approle", "id", foreign)
		Expect(w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)).To(Equal(
			"a wrapping token in " + source + " does not come from auth/" + w.mount + "/role/NAME/secret-id " + w.as() + cure))
		Expect(proxy.Counts()).NotTo(HaveKey("POST sys/wrapping/unwrap"))
	})

	It("that was used or has expired says so, whoever used it", func(ctx context.Context) {
		w := wrapped(ctx, terms{})
		used := w.wrapping()
		_, err := server.Client().Logical().Unwrap(used)
		Expect(err).NotTo(HaveOccurred())
		expired := server.Wrap("auth/"+w.mount+"/role/app/secret-id", time.Second)
		w.tokens = append(w.tokens, expired)
		Eventually(func() error {
			_, err := server.Client().Logical().Write("sys/wrapping/lookup", map[string]any{"token": expired})
			return err
		}).Should(HaveOccurred())
		w.setSecret("approle", "id", used+"\n"+expired)
		Expect(w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)).To(Equal(
			"no wrapping token in " + source + " works: each was used or has expired " + w.as() + cure))

		By("logging in with a new one")
		w.setSecret("approle", "id", w.wrapping())
		Expect(w.read(ctx)).To(Succeed())
	})

	It("in an empty Secret, or as something else, says so", func(ctx context.Context) {
		w := wrapped(ctx, terms{})
		w.setSecret("approle", "id", " \n")
		Expect(w.said(w.read(ctx), v1alpha1.ReasonCredentialMissing)).To(
			Equal(source + " is empty (VaultConfig shop/prod)" + cure),
		)
		w.setSecret("approle", "id", "\x01\x02")
		Expect(w.said(w.read(ctx), v1alpha1.ReasonInvalidSpec)).To(Equal(
			source + " holds characters that a wrapping token cannot have (VaultConfig shop/prod); put one wrapping token on each line"))
	})
})

var _ = Describe("A workload's session", func() {
	BeforeEach(func() { server.PutKV("secret/data/db", map[string]any{"password": canary + "db"}) })

	It("is one for all pods of a service account, uses the latest pod's token, and is dropped when it is idle", func(ctx context.Context) {
		w := newAuthMethod(ctx, "jwt", "", terms{})
		w.config.Spec.Auth.JWT.ServiceAccountName, w.config.Spec.Auth.JWT.Workload = "", new(true)
		asked := 0
		pod := func(account string) *auth.Workload {
			return &auth.Workload{Namespace: "shop", ServiceAccount: account, Token: func(
				ctx context.Context, audience string,
			) (string, error) {
				asked++
				Expect(audience).To(Equal("vault"))
				made, err := theAPIServer().Clients.CoreV1().ServiceAccounts(
					"shop",
				).CreateToken(ctx, account, &authenticationv1.TokenRequest{
					Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}},
				}, metav1.CreateOptions{})
				if err != nil {
					return "", err
				}
				w.tokens = append(w.tokens, made.Status.Token)
				return made.Status.Token, nil
			}}
		}
		first, err := w.sessions.ForWorkload(ctx, w.config, pod("app"))
		Expect(err).NotTo(HaveOccurred())
		w.mute(first)
		Expect(first.WorkloadKey()).To(Equal("shop/app"))
		Expect(w.sessions.ForWorkload(ctx, w.config, pod("app"))).To(BeIdenticalTo(first))
		Expect(asked).To(Equal(1), "a pod's token is looked at only for a login")

		_, err = w.sessions.ForWorkload(ctx, w.config, pod("other"))
		Expect(w.said(err, v1alpha1.ReasonAuthFailed)).To(And(HavePrefix("POST auth/"+w.mount+"/login → 400 the role does not accept the token of service account shop/other"),
			ContainSubstring("(VaultConfig shop/prod, auth jwt role app as shop/other)")))
		_, err = w.sessions.For(ctx, w.config)
		Expect(w.said(err, v1alpha1.ReasonInvalidSpec)).To(Equal("spec.auth.jwt: workload: this logs in as the pod that mounts a Connection, and here is none; " +
			"use a VaultConfig with serviceAccountName or another method (VaultConfig shop/prod, auth jwt role app)"))
		_, err = w.sessions.Health(ctx, w.config)
		Expect(err).NotTo(HaveOccurred())

		By("keeping it while pods come")
		w.later(14 * time.Minute)
		Expect(w.sessions.ForWorkload(ctx, w.config, pod("app"))).To(BeIdenticalTo(first))
		w.later(14 * time.Minute)
		w.sessions.DropIdle()
		Expect(w.living()).To(Equal(1))

		By("dropping it when none came for a quarter of an hour")
		w.later(time.Minute)
		w.sessions.DropIdle()
		Eventually(w.living).Should(BeZero())
		Expect(w.sessions.ForWorkload(ctx, w.config, pod("app"))).NotTo(BeIdenticalTo(first))
		Expect(w.living()).To(Equal(1))

		By("going on with it when the spec changes in what does not concern the login")
		w.config.Generation++
		w.config.Spec.EnginePath = "kv"
		_, err = w.sessions.ForWorkload(ctx, w.config, pod("app"))
		Expect(err).NotTo(HaveOccurred())
		Expect(w.living()).To(Equal(1))
		w.sessions.Forget(w.config.UID)
		Eventually(w.living).Should(BeZero())
	})
})
