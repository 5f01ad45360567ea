package vault_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

// documentedBound is how long docs/reference/lifetimes.md lets a login of a method take at most, after somebody put right
// what refused it.
func documentedBound(method, who string) time.Duration {
	GinkgoHelper()
	page, err := os.ReadFile("../../../docs/reference/lifetimes.md")
	Expect(err).NotTo(HaveOccurred())
	_, table, found := strings.Cut(string(page), "\n| Method | Who changes | At most | How |\n")
	Expect(found).To(BeTrue())
	for row := range strings.Lines(table) {
		cells := strings.Split(row, " | ")
		if len(cells) != 4 {
			continue
		}
		methods := strings.Split(strings.TrimPrefix(cells[0], "| "), ", ")
		if !slices.Contains(methods, method) && !slices.Contains(methods, "all") || !strings.Contains(cells[1], who) {
			continue
		}
		if cells[2] == "at once" {
			return 0
		}
		number, _, _ := strings.Cut(cells[2], ";")
		seconds, failure := strconv.Atoi(number)
		Expect(failure).NotTo(HaveOccurred(), row)
		return time.Duration(seconds) * time.Second
	}
	Fail("no row for " + method + ", " + who)
	return 0
}

// These specs are what docs/reference/lifetimes.md says of logins: a credential that Vault refused, or cannot be used
// with, works within five minutes after somebody put it right, whoever that is.
var _ = Describe("A credential that works again", func() {
	BeforeEach(func() { server.PutKV("secret/data/db", map[string]any{"password": canary + "db"}) })

	type refusal struct{ wrong, right func(*authMethod) }
	role := func(w *authMethod, fields ...any) {
		server.Write("auth/"+w.mount+"/role/app", with(terms{}.fields(), fields...))
	}
	write := func(path string, fields ...any) func(*authMethod) {
		return func(w *authMethod) { server.Write("auth/"+w.mount+path, with(terms{}.fields(), fields...)) }
	}
	accounts := []any{"bound_service_account_namespaces", "shop", "audience", "vault", "bound_service_account_names"}
	subject := []any{"role_type", "jwt", "user_claim", "sub", "bound_audiences", "vault", "bound_subject"}
	lockout := func(w *authMethod) {
		w.lockout(map[string]any{"lockout_threshold": "3", "lockout_counter_reset_duration": "15m", "lockout_duration": "15m"})
	}
	locked := func() string {
		GinkgoHelper()
		users, err := server.Client().Logical().Read("sys/locked-users")
		Expect(err).NotTo(HaveOccurred())
		return fmt.Sprint(users.Data["by_namespace"])
	}
	network := refusal{
		func(w *authMethod) { proxy.Inject(env.Fault{Path: "auth/" + w.mount, CloseBefore: true}) },
		func(*authMethod) { proxy.Heal() },
	}
	password := refusal{
		func(w *authMethod) { w.setSecret("bob", "password", canary+"wrong") },
		func(w *authMethod) { w.setSecret("bob", "password", password) },
	}

	// What each may take. A bound that docs/reference/lifetimes.md does not have for it fails the spec as well.
	const atOnce, seconds, minutes = time.Duration(0), 15 * time.Second, 5 * time.Minute

	DescribeTable("does so within its time, five minutes at most, and locks no account at a threshold of three",
		func(ctx context.Context, kind, who string, within time.Duration, change refusal) {
			Expect(within).To(And(Equal(documentedBound(kind, who)), BeNumerically("<=", minutes)))
			w := newAuthMethod(ctx, kind, "", terms{})
			if kind == "userPass" || kind == "ldap" || kind == "appRole" {
				lockout(w)
			}
			change.wrong(w)
			Expect(w.read(ctx)).NotTo(Succeed())
			w.later(time.Second)
			for range 4 * 6 { // as somebody does who waits for it: each try that Vault counted would be one too many
				Expect(w.read(ctx)).NotTo(Succeed())
				w.later(10 * time.Second)
			}
			change.right(w)
			proxy.Reset()
			took := time.Duration(0) // by the clock of the sessions: however slow the machine is, what is due comes then
			for err := w.read(ctx); err != nil; err = w.read(ctx) {
				took += 5 * time.Second
				Expect(took).To(BeNumerically("<=", within), "%v", err)
				w.later(5 * time.Second)
			}
			AddReportEntry("seconds", fmt.Sprint(took))
			if kind != "cert" { // which goes past the proxy
				Expect(w.logins()).To(Equal(1), "the first one that could succeed")
			}
			Expect(locked()).NotTo(ContainSubstring(server.Get("sys/auth/" + w.mount)["accessor"]))
		},
		Entry("kubernetes, role", "kubernetes", "role", minutes, refusal{
			write("/role/app", append(accounts, "other")...), write("/role/app", append(accounts, "app")...),
		}),
		Entry("kubernetes, network", "kubernetes", "network", seconds, network),
		Entry("jwt, role", "jwt", "role", minutes, refusal{
			write("/role/app", append(subject, "system:serviceaccount:shop:other")...),
			write("/role/app", append(subject, "system:serviceaccount:shop:app")...),
		}),
		Entry("jwt, network", "jwt", "network", seconds, network),
		Entry("appRole, role", "appRole", "role", minutes, refusal{
			func(w *authMethod) { role(w, "secret_id_bound_cidrs", "10.9.8.0/24") },
			func(w *authMethod) { role(w, "secret_id_bound_cidrs", "") },
		}),
		Entry("appRole, Secret", "appRole", "Secret", atOnce, refusal{
			func(w *authMethod) { w.setSecret("approle", "id", canary+"wrong") },
			func(w *authMethod) { w.setSecret("approle", "id", w.secretID()) },
		}),
		Entry("appRole, network", "appRole", "network", seconds, network),
		Entry("userPass, account", "userPass", "account", minutes, refusal{
			func(w *authMethod) {
				_, err := server.Client().Logical().Delete("auth/" + w.mount + "/users/bob")
				Expect(err).NotTo(HaveOccurred())
			},
			func(w *authMethod) { write("/users/bob", "password", canary+"password with a space ")(w) },
		}),
		Entry("userPass, Secret", "userPass", "Secret", atOnce, password),
		Entry("userPass, network", "userPass", "network", seconds, network),
		Entry("ldap, Secret", "ldap", "Secret", atOnce, password),
		Entry("ldap, account", "ldap", "account", minutes, refusal{
			func(w *authMethod) { write("/config", "userdn", "ou=nobody,"+env.LDAPBase)(w) },
			func(w *authMethod) { write("/config", "userdn", "ou=people,"+env.LDAPBase)(w) },
		}),
		Entry("ldap, network", "ldap", "network", seconds, network),
		Entry("cert, role", "cert", "role", minutes, refusal{
			func(w *authMethod) {
				write("/certs/app", "certificate", server.CACertificate(), "allowed_common_names", "other")(w)
			},
			func(w *authMethod) {
				write("/certs/app", "certificate", server.CACertificate(), "allowed_common_names", "sallyport")(w)
			},
		}),
		Entry("cert, Secret", "cert", "Secret", atOnce, refusal{
			func(w *authMethod) { w.setCertificate("other") }, func(w *authMethod) { w.setCertificate("sallyport") },
		}),
	)

	It("is that of an account which somebody else locked, within five minutes after Vault's lock ends", func(ctx context.Context) {
		const lock = 12 * time.Second
		w := newAuthMethod(ctx, "userPass", "", terms{})
		w.lockout(map[string]any{
			"lockout_threshold": "3", "lockout_counter_reset_duration": "15m", "lockout_duration": lock.String(),
		})
		for range 3 {
			guess := map[string]any{"password": canary + "another's"}
			_, err := server.Client().Logical().Write("auth/"+w.mount+"/login/bob", guess)
			Expect(err).To(HaveOccurred())
		}
		ends := time.Now().Add(lock)
		Expect(locked()).To(ContainSubstring(server.Get("sys/auth/" + w.mount)["accessor"]))
		w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
		w.later(30 * time.Second)
		w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
		time.Sleep(time.Until(ends.Add(time.Second)))
		took := time.Duration(0)
		for ; w.read(ctx) != nil; took += 10 * time.Second {
			Expect(took).To(BeNumerically("<=", 5*time.Minute), "%v", w.read(ctx))
			w.later(10 * time.Second)
		}
		AddReportEntry("seconds", fmt.Sprint(took))
	})

	It("is a token that may look itself up by now: status knows within five minutes", func(ctx context.Context) {
		f := newFixture()
		f.setToken(f.token(env.TokenOptions{Policies: []string{"lookup-late"}, NoDefaultPolicy: true, TTL: time.Hour}))
		server.Policy("lookup-late", `path "secret/data/*" { capabilities = ["read"] }`)
		held := f.session(ctx)
		Expect(held.Token().Opaque).To(BeTrue())
		server.Policy("lookup-late", `path "auth/token/lookup-self" { capabilities = ["read"] }`)
		f.later(5 * time.Minute)
		Expect(f.session(ctx)).To(BeIdenticalTo(held))
		Expect(held.Token()).To(And(HaveField("Opaque", false), HaveField("CreationTTL", time.Hour)))
		Expect(held.NextRenewal()).NotTo(BeZero())
	})

	It("is a static token that Vault refused, when the proxy before it lets it through", func(ctx context.Context) {
		f := newFixture()
		proxy.Inject(
			env.Fault{Path: "", Status: 403, ContentType: "application/json", Body: `{"errors":["permission denied"]}`},
		)
		_, err := f.sessions.For(ctx, f.config)
		f.said(err, v1alpha1.ReasonAuthFailed)
		proxy.Heal()
		f.later(30 * time.Second)
		f.session(ctx)
	})

	It("is an AppRole's with a new policy, if Vault says that the secret ID has no limit", func(ctx context.Context) {
		w := newAuthMethod(ctx, "appRole", "", terms{})
		lookup := `path "auth/` + w.mount + `/role/app/secret-id/lookup" { capabilities = ["update"] }`
		server.PutKV("secret/data/late", map[string]any{"a": canary + "b"})
		server.Policy("late-"+w.mount, `path "secret/data/late" { capabilities = ["read"] }`)
		server.Policy("limited-"+w.mount, lookup)
		role(w, "token_policies", "limited-"+w.mount)
		late := func() error {
			_, err := secrets.Read(ctx, w.session(ctx), at("late"))
			return err
		}
		w.said(late(), v1alpha1.ReasonPermissionDenied)
		role(w, "token_policies", "limited-"+w.mount+",late-"+w.mount)
		w.later(5 * time.Minute)
		Expect(late()).To(Succeed())
		Expect(w.logins()).To(Equal(2))
		Eventually(w.living).Should(Equal(1))

		By("saying what is not known where the policy does not let Vault be asked, and asking again")
		w = newAuthMethod(ctx, "appRole", "", terms{})
		server.Policy("asking-"+w.mount, `path "secret/data/none" { capabilities = ["read"] }`)
		role(w, "token_policies", "asking-"+w.mount, "secret_id_num_uses", 3, "token_ttl", "24h")
		w.setSecret("approle", "id", w.secretID())
		path := "auth/" + w.mount + "/role/app/secret-id/lookup"
		Expect(w.session(ctx).Token().Logins).To(Equal(auth.Logins{Unknown: true, Denied: path}))
		server.Policy("asking-"+w.mount, `path "`+path+`" { capabilities = ["update"] }`)
		w.later(2 * time.Minute)
		Expect(w.session(ctx).Token().Logins).To(HaveField("Unknown", true), "not with every look")
		w.later(time.Hour)
		Expect(w.session(ctx).Token().Logins).To(Equal(auth.Logins{Limited: true, Left: 2}))
		Expect(w.logins()).To(Equal(1))

		By("spending none of a secret ID that has one")
		w = newAuthMethod(ctx, "appRole", "", terms{})
		lookup = `path "auth/` + w.mount + `/role/app/secret-id/lookup" { capabilities = ["update"] }`
		server.Policy("limited-"+w.mount, lookup)
		role(w, "token_policies", "limited-"+w.mount, "secret_id_num_uses", 3)
		w.setSecret("approle", "id", w.secretID())
		w.said(late(), v1alpha1.ReasonPermissionDenied)
		Expect(w.session(ctx).Token().Logins).To(And(HaveField("Limited", true), HaveField("Left", 2)))
		w.later(time.Hour / 2)
		w.said(late(), v1alpha1.ReasonPermissionDenied)
		Expect(w.logins()).To(Equal(1))
	})

	It("is one that is good for one login: its token is kept while it can be of use", func(ctx context.Context) {
		w := newAuthMethod(ctx, "appRole", "", terms{})
		role(w, "secret_id_num_uses", 1)
		once := w.secretID()
		w.setSecret("approle", "id", once)
		w.setConfigMap("ca", "ca.crt", server.CACertificate())
		w.config.Spec.URL = server.URL()
		w.config.Spec.CACertificate = ""
		w.config.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"},
		}
		turned := 0
		w.sessions.OnTurn(func(types.NamespacedName) { turned++ })
		Expect(w.read(ctx)).To(Succeed())

		By("when the authority's certificate is rotated")
		w.setConfigMap("ca", "ca.crt", server.CACertificate()+"\n"+server.CACertificate())
		w.later(2 * time.Minute)
		Expect(w.read(ctx)).To(Succeed())

		By("when the spec changes in how Vault is reached")
		w.config.Generation++
		w.config.Spec.Limits = &v1alpha1.VaultLimits{}
		Expect(w.read(ctx)).To(Succeed())
		Expect(turned).To(BeZero())

		By("when the Secret is wrong for a while")
		w.setSecret("approle", "id", canary+"wrong")
		w.later(2 * time.Minute)
		w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)
		Expect(turned).To(Equal(1), "the VaultConfig is woken")
		Expect(w.living()).To(Equal(1))
		w.setSecret("approle", "id", once)
		Expect(w.read(ctx)).To(Succeed())
		Expect(turned).To(Equal(2))
		w.sessions.Forget(w.config.UID)
		Eventually(w.living).Should(BeZero(), "and revoked in the end")
	})

	It("makes no dynamic secret with a token for a number of requests, and says why", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{uses: 5})
		dynamic := secrets.Location{EnginePath: "secret", SecretPath: "db", Write: true, KVVersion: v1alpha1.KVVersion1}
		_, err := secrets.Issue(ctx, w.session(ctx), dynamic)
		Expect(w.said(err, v1alpha1.ReasonUseLimited)).To(ContainSubstring("made for 5 uses"))
	})

	It("is offered by the leading replica first where Vault counts refusals", func(ctx context.Context) {
		w := newAuthMethod(ctx, "userPass", "", terms{})
		w.newSessions(session.Options{Leading: func() bool { return false }})
		Expect(w.said(w.read(ctx), v1alpha1.ReasonAuthFailed)).To(HavePrefix("the leading replica logs in first"))
		Expect(w.logins()).To(BeZero())
	})
})
