package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("The way to Vault", func() {
	var f *fixture

	BeforeEach(func() {
		f = newFixture()
		server.PutKV("secret/data/db", map[string]any{"password": canary})
	})

	read := func(ctx context.Context) error {
		session, err := f.sessions.For(ctx, f.config)
		if err != nil {
			return err
		}
		_, err = secrets.Read(ctx, session, at("db"))
		return err
	}
	origins := func(sentence string) string {
		return strings.ReplaceAll(sentence, f.config.Spec.URL, "ORIGIN")
	}

	It("leads to a Vault namespace, with every request but that for Vault's health, which has none", func(ctx context.Context) {
		asEnterprise()
		f.config.Spec.VaultNamespace = "team-a"
		Expect(read(ctx)).To(Succeed())
		_, err := f.sessions.Health(ctx, f.config)
		Expect(err).NotTo(HaveOccurred())
		for request := range proxy.Counts() {
			if request == "GET sys/health" {
				Expect(proxy.Namespace(request)).To(BeEmpty())
			} else {
				Expect(proxy.Namespace(request)).To(Equal("team-a"), request)
			}
		}
	})

	It("leads to a namespace below that with the requests for a secret that is there, and with no others", func(ctx context.Context) {
		asEnterprise()
		f.config.Spec.VaultNamespace = "team-a"
		below := at("db")
		below.Below = "child"
		_, err := secrets.Read(ctx, f.session(ctx), below)
		Expect(err).NotTo(HaveOccurred())
		Expect(proxy.Namespace("GET secret/data/db")).To(Equal("team-a/child"))
		Expect(proxy.Namespace("GET sys/internal/ui/mounts/secret")).To(Equal("team-a/child"))
		Expect(proxy.Namespace("GET auth/token/lookup-self")).To(Equal("team-a"))
	})

	It("leads to no namespace of a Vault that has none, and would answer from the root", func(ctx context.Context) {
		below := at("db")
		below.Below = "child"
		_, err := secrets.Read(ctx, f.session(ctx), below)
		Expect(origins(f.said(err, v1alpha1.ReasonInvalidSpec))).To(Equal(`vaultNamespace "child": Vault at ORIGIN is the Community ` +
			`edition, which has no namespaces and would answer from the root ` + as + `; leave it out, or name the VaultConfig of a ` +
			`Vault that has namespaces`))

		proxy.Reset()
		f = newFixture(func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "team-a" })
		Expect(origins(f.said(read(ctx), v1alpha1.ReasonInvalidSpec))).To(Equal(`spec.vaultNamespace "team-a": Vault at ORIGIN is the ` +
			`Community edition, which has no namespaces and would answer from the root (VaultConfig shop/prod); leave it out, or let ` +
			`spec.url name a Vault that has namespaces`))
		Expect(proxy.Counts()).To(HaveLen(1), "no token is sent: %v", proxy.Counts())
	})

	It("leads to addresses that are allowed, and no credential is read for any other", func(ctx context.Context) {
		f.newSessions(session.Options{AllowedURLs: []string{"https://vault.example.com"}})
		Expect(origins(f.said(read(ctx), v1alpha1.ReasonInvalidSpec))).To(Equal(
			"spec.url: ORIGIN is not in the controller's --allowed-vault-urls; use one that is, or have it listed (VaultConfig shop/prod)"))
		Expect(f.secretReads.Load()).To(BeZero())
		Expect(proxy.Counts()).To(BeEmpty())
		f.newSessions(session.Options{AllowedURLs: []string{"https://vault.example.com", f.config.Spec.URL}})
		Expect(read(ctx)).To(Succeed())
	})

	Describe("past a gateway that wants to see headers", func() {
		const key = "gateway-key-" + canary
		var lacking, elsewhere map[string]int

		BeforeEach(func() {
			lacking, elsewhere = map[string]int{}, map[string]int{}
			var mu sync.Mutex
			proxy.Observe(func(r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if r.Header.Get("X-Tenant") != "shop" || !strings.HasPrefix(r.Header.Get("X-Key"), key) {
					lacking[r.Method+" "+r.URL.Path]++
				}
				if r.Header.Get("X-Key") == key+"2" {
					elsewhere[r.Method+" "+r.URL.Path]++
				}
			})
			DeferCleanup(proxy.Observe, (func(*http.Request))(nil))
			f.setSecret("gateway", "key", key+"\n")
			f.tokens = append(f.tokens, key)
			f.config.Spec.Headers = []v1alpha1.VaultHeader{
				{Name: "X-Tenant", Value: "shop"},
				{Name: "X-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "gateway", Key: "key"}},
			}
		})

		It("has them with every request, that for Vault's health too", func(ctx context.Context) {
			Expect(read(ctx)).To(Succeed())
			_, err := f.sessions.Health(ctx, f.config)
			Expect(err).NotTo(HaveOccurred())
			Expect(proxy.Counts()).To(And(HaveKey("GET sys/health"), HaveKey("GET auth/token/lookup-self"), HaveKey("GET secret/data/db")))
			Expect(lacking).To(BeEmpty())
			f.mute(f.session(ctx))
			f.mute(f.sessions)
		})

		It("follows a change of the Secret within a minute, and keeps the token", func(ctx context.Context) {
			Expect(read(ctx)).To(Succeed())
			proxy.Reset()
			f.setSecret("gateway", "key", key+"2")
			f.later(61 * time.Second)
			Expect(read(ctx)).To(Succeed())
			Expect(elsewhere).To(HaveKey("GET /v1/secret/data/db"))
			Expect(lacking).To(BeEmpty())
		})

		It("says what is wrong with the Secret, and asks Vault for nothing", func(ctx context.Context) {
			f.setSecret("gateway", "key", key+"\nX-Vault-Token: x")
			Expect(f.said(read(ctx), v1alpha1.ReasonInvalidSpec)).To(Equal(`spec.headers: Secret shop/gateway, key "key", holds characters that a header cannot have ` +
				"(VaultConfig shop/prod); put the text of the header alone there, on one line"))
			Expect(proxy.Counts()).To(BeEmpty())
			f.setSecret("gateway", "other", key)
			Expect(f.said(read(ctx), v1alpha1.ReasonCredentialMissing)).To(Equal(`Secret shop/gateway has no key "key" (VaultConfig shop/prod); add it`))
		})
	})

	Describe("below a path of a gateway", func() {
		var gateway *env.Proxy

		BeforeEach(func() {
			var err error
			gateway, err = env.StartProxy(server)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(gateway.Close)
			gateway.Below("/team/vault")
			f.config.Spec.URL = gateway.URL() + "/"
		})

		It("is gone by all requests", func(ctx context.Context) {
			Expect(read(ctx)).To(Succeed())
			_, err := f.sessions.Health(ctx, f.config)
			Expect(err).NotTo(HaveOccurred())
			Expect(f.session(ctx).Renew(ctx)).To(Succeed())
			Expect(gateway.Counts()).To(And(HaveKey("GET sys/health"), HaveKey("GET auth/token/lookup-self"),
				HaveKey("GET sys/internal/ui/mounts/secret"), HaveKey("GET secret/data/db")))
			Expect(proxy.Counts()).To(BeEmpty())
		})

		It("says that somebody else answers where it is wrong", func(ctx context.Context) {
			f.config.Spec.URL = strings.TrimSuffix(gateway.URL(), "/vault") + "/other"
			Expect(origins(f.said(read(ctx), v1alpha1.ReasonVaultUnreachable))).To(Equal(
				"GET auth/token/lookup-self → ORIGIN answered, but not as Vault does: status 404 with something that is not JSON " + as +
					"; check that spec.url is Vault's own address"))
		})

		It("must be allowed as it is", func(ctx context.Context) {
			f.newSessions(session.Options{AllowedURLs: []string{strings.TrimSuffix(gateway.URL(), "/team/vault")}})
			Expect(f.said(read(ctx), v1alpha1.ReasonInvalidSpec)).To(ContainSubstring("/team/vault is not in the controller's --allowed-vault-urls"))
			f.newSessions(session.Options{AllowedURLs: []string{gateway.URL()}})
			Expect(read(ctx)).To(Succeed())
		})
	})

	Describe("through a proxy", func() {
		var tunnel *env.Tunnel

		BeforeEach(func() {
			var err error
			tunnel, err = env.StartTunnel()
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(tunnel.Close)
			f.config.Spec.Proxy = &v1alpha1.VaultProxy{URL: tunnel.URL()}
		})

		It("is a tunnel, in which TLS is Vault's own", func(ctx context.Context) {
			Expect(read(ctx)).To(Succeed())
			Expect(tunnel.Led()).To(HaveEach("CONNECT " + strings.TrimPrefix(proxy.URL(), "https://")))
			f.config.Generation, f.config.Spec.CACertificate = 2, ""
			f.said(read(ctx), v1alpha1.ReasonTLSFailed)
		})

		It("names the proxy when that refuses", func(ctx context.Context) {
			const begin = "GET auth/token/lookup-self → the proxy PROXY does not lead to ORIGIN: "
			const end = " " + as + "; check spec.proxy.url and the proxy"
			said := func() string {
				return strings.ReplaceAll(origins(f.said(read(ctx), v1alpha1.ReasonVaultUnreachable)), tunnel.URL(), "PROXY")
			}
			tunnel.Refuse(http.StatusForbidden)
			Expect(said()).To(Equal(begin + "it answers with status 403" + end))
			tunnel.Refuse(http.StatusProxyAuthRequired)
			Expect(said()).To(Equal(begin + "it wants a user name and password (status 407), which Sallyport does not send" + end))
			tunnel.Close()
			Expect(said()).To(Equal(begin + "connection refused" + end))
		})

		It("must be allowed where Vaults must be", func(ctx context.Context) {
			f.newSessions(session.Options{AllowedURLs: []string{f.config.Spec.URL}})
			Expect(f.said(read(ctx), v1alpha1.ReasonInvalidSpec)).To(ContainSubstring("is not in the controller's --allowed-proxy-urls"))
			f.newSessions(session.Options{AllowedURLs: []string{f.config.Spec.URL}, AllowedProxyURLs: []string{tunnel.URL()}})
			Expect(read(ctx)).To(Succeed())
		})
	})

	Describe("where a client certificate is wanted", func() {
		var edge *env.Proxy

		BeforeEach(func() {
			var err error
			edge, err = env.StartProxy(server, server.WantClientCertificate)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(edge.Close)
			f.config.Spec.URL = edge.URL()
			f.config.Spec.TLS = &v1alpha1.VaultTLS{ClientCertificateSecretRef: &v1alpha1.TLSSecretReference{Name: "client"}}
		})
		setClient := func(certificate, key string) {
			GinkgoHelper()
			if lines := strings.Split(key, "\n"); len(lines) > 2 {
				f.tokens = append(f.tokens, lines[1]) // which is the key's own, and may show nowhere
			}
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "client"},
				Data:       map[string][]byte{"tls.crt": []byte(certificate), "tls.key": []byte(key)},
			}
			Expect(client.IgnoreNotFound(f.kubernetes.Delete(context.Background(), secret.DeepCopy()))).To(Succeed())
			Expect(f.kubernetes.Create(context.Background(), secret)).To(Succeed())
		}

		It("shows it, says what is wrong with it, and follows its change", func(ctx context.Context) {
			f.config.Spec.TLS.ClientCertificateSecretRef = nil
			// A server may hang up before its alert was read, which is then told in other words.
			said := func() string {
				failure := read(ctx)
				f.mute(failure)
				return origins(fmt.Sprint(failure))
			}
			Eventually(said).Should(Equal("GET auth/token/lookup-self → no TLS with ORIGIN: the server wants a client certificate, or another one " + as +
				"; give spec.tls.clientCertificateSecretRef one that the server accepts"))

			f.config.Generation = 2
			f.config.Spec.TLS.ClientCertificateSecretRef = &v1alpha1.TLSSecretReference{Name: "client"}
			Expect(f.said(read(ctx), v1alpha1.ReasonCredentialMissing)).To(Equal("Secret shop/client does not exist (VaultConfig shop/prod); create it"))
			certificate, key := server.ClientCertificate("sallyport")
			setClient(certificate, "")
			Expect(f.said(read(ctx), v1alpha1.ReasonCredentialMissing)).To(Equal(`Secret shop/client has no key "tls.key" (VaultConfig shop/prod); add it`))
			setClient(certificate, "nonsense")
			Expect(f.said(read(ctx), v1alpha1.ReasonInvalidSpec)).To(Equal("spec.tls.clientCertificateSecretRef: Secret shop/client holds no PEM certificate " +
				"with the key that belongs to it (VaultConfig shop/prod); put both there as PEM, tls.crt and tls.key of the same pair"))
			stranger, err := env.StartVault(ctx)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stranger.Close)
			setClient(stranger.ClientCertificate("sallyport"))
			Eventually(said).Should(ContainSubstring("the server wants a client certificate, or another one"))

			setClient(certificate, key)
			Expect(read(ctx)).To(Succeed())
			Expect(edge.Counts()).To(HaveKeyWithValue("GET secret/data/db", 1))

			By("following its change within a minute")
			setClient(stranger.ClientCertificate("sallyport"))
			Expect(read(ctx)).To(Succeed())
			f.later(61 * time.Second)
			Eventually(said).Should(ContainSubstring("the server wants a client certificate, or another one"))
			setClient(certificate, key)
			Expect(read(ctx)).To(Succeed())

			By("saying so when it has ended")
			setClient(server.ClientCertificateUntil("sallyport", time.Now().Add(-time.Minute)))
			f.later(61 * time.Second)
			Eventually(said).Should(ContainSubstring("the server wants a client certificate, or another one"))
		})
	})

	It("is to the server that serverName names, whatever the address", func(ctx context.Context) {
		address := strings.TrimPrefix(server.URL(), "https://")
		elsewhere := strings.Replace(address, "127.0.0.1", "127.0.0.3", 1)
		forward(ctx, elsewhere, address)
		f.config.Spec.URL = "https://" + elsewhere
		f.config.Spec.TLS = &v1alpha1.VaultTLS{ServerName: "vault.example.com"}
		Expect(origins(f.said(read(ctx), v1alpha1.ReasonTLSFailed))).To(Equal(
			"GET auth/token/lookup-self → no TLS with ORIGIN: its certificate is not valid for this name " + as +
				"; use a name in spec.url that the certificate holds, or give one in spec.tls.serverName"))
		f.config.Generation, f.config.Spec.TLS.ServerName = 2, "localhost"
		Expect(read(ctx)).To(Succeed())
	})

	Describe("with limits", func() {
		It("takes no more than they allow, and says so to those who would wait too long", func(ctx context.Context) {
			one, three := int32(1), int32(3)
			f.config.Spec.Limits = &v1alpha1.VaultLimits{
				RequestsPerSecond: &one, Burst: &three, Timeout: &metav1.Duration{Duration: 5 * time.Second},
			}
			began := time.Now()
			session := f.session(ctx) // the first of three
			var wait sync.WaitGroup
			errs := make([]error, 40)
			for i := range errs {
				wait.Go(func() {
					_, errs[i] = secrets.Read(
						ctx, session, secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2},
					)
				})
			}
			wait.Wait()
			refused := 0
			for _, err := range errs {
				if err != nil {
					refused++
					Expect(f.said(err, v1alpha1.ReasonRateLimited)).To(MatchRegexp(
						`^GET secret/data/db → not sent: its turn comes only in \S+s, for more is asked of Vault than spec\.limits allows, ` +
							`1 requests a second \(VaultConfig shop/prod, auth token\); raise spec\.limits\.requestsPerSecond$`))
				}
			}
			// The burst without the login's, and one in each second, however many these were.
			Expect(len(errs) - refused).To(BeNumerically("<=", 3+int(time.Since(began)/time.Second)))
			Expect(refused).To(BeNumerically(">=", 5))
			Expect(proxy.Counts()["GET secret/data/db"]).To(Equal(len(errs) - refused))
		})

		It("waits for an answer as long as they say", func(ctx context.Context) {
			f.config.Spec.Limits = &v1alpha1.VaultLimits{Timeout: &metav1.Duration{Duration: 3 * time.Second}}
			session := f.session(ctx)
			proxy.Inject(env.Fault{Path: "secret/", Hang: true})
			_, err := secrets.Read(ctx, session, at("db"))
			Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(ContainSubstring("time-out after 3s"))
		})
	})

	Describe("when a quota is used up", func() {
		quota := func(seconds string, times int) env.Fault {
			return env.Fault{
				Path: "secret/", Times: times, Status: 429, ContentType: "application/json", Header: http.Header{
					"Retry-After": {seconds},
				},
				Body: `{"errors":["request path: rate limit quota exceeded"]}`,
			}
		}
		location := secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2}

		It("reads once more after the time that Vault names", func(ctx context.Context) {
			session := f.session(ctx)
			proxy.Inject(quota("1", 1))
			started := time.Now()
			_, err := secrets.Read(ctx, session, location)
			Expect(err).NotTo(HaveOccurred())
			Expect(time.Since(started)).To(BeNumerically(">=", time.Second))
			Expect(proxy.Counts()).To(HaveKeyWithValue("GET secret/data/db", 2))
		})

		It("asks for nothing before that time", func(ctx context.Context) {
			session := f.session(ctx)
			proxy.Inject(quota("30", 1))
			_, err := secrets.Read(ctx, session, location)
			Expect(f.said(err, v1alpha1.ReasonRateLimited)).To(Equal("GET secret/data/db → 429 too many requests " + as + "; a quota in Vault is used up"))
			_, err = secrets.Read(ctx, session, location)
			Expect(f.said(err, v1alpha1.ReasonRateLimited)).To(MatchRegexp(
				`^GET secret/data/db → not sent: a quota in Vault is used up, and Vault wants no request for (30|29)s \(VaultConfig shop/prod, auth token\); raise the quota$`))
			Expect(proxy.Counts()).To(HaveKeyWithValue("GET secret/data/db", 1))
		})

		It("does not write twice", func(ctx context.Context) {
			f.setToken(f.token(env.TokenOptions{Policies: []string{"writer"}}))
			session := f.session(ctx)
			usedUp := quota("1", 1)
			usedUp.Method = http.MethodPost
			proxy.Inject(usedUp)
			_, err := secrets.Write(
				ctx, session, secrets.Location{EnginePath: "secret", SecretPath: "quota"}, map[string]any{"a": "b"}, 0,
			)
			f.said(err, v1alpha1.ReasonRateLimited)
			Expect(fault.OutcomeUnknown(err)).To(BeFalse())
			Expect(proxy.Counts()).To(HaveKeyWithValue("POST secret/data/quota", 1))
		})
	})

	It("follows a redirect back to the same place only, and not for ever", func(ctx context.Context) {
		session := f.session(ctx)
		back := env.Fault{
			Path: "secret/", Times: 2, Status: 307, Header: http.Header{"Location": {proxy.URL() + "/v1/secret/data/db"}},
		}
		proxy.Inject(back)
		location := secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2}
		_, err := secrets.Read(ctx, session, location)
		Expect(err).NotTo(HaveOccurred())
		Expect(proxy.Counts()).To(HaveKeyWithValue("GET secret/data/db", 3))
		back.Times = 0
		proxy.Inject(back)
		_, err = secrets.Read(ctx, session, location)
		Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(ContainSubstring("307 redirect"))
		Expect(proxy.Counts()).To(HaveKeyWithValue("GET secret/data/db", 6))
	})
})

var _ = Describe("A standby", func() {
	It("is as good as the active server, and says so when that is gone", func(ctx context.Context) {
		active, err := env.StartVault(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(active.Close)
		standby, err := active.StartStandby(ctx)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(standby.Close)
		active.Policy("writer", `path "secret/data/*" { capabilities = ["create", "read", "update"] }`)
		f := newFixture(func(c *v1alpha1.VaultConfig) {
			c.Spec.URL, c.Spec.CACertificate = standby.URL(), standby.CACertificate()
		})
		token := active.Token(env.TokenOptions{Policies: []string{"writer"}, TTL: time.Hour})
		f.tokens = append(f.tokens, token)
		f.setToken(token)

		health, err := f.sessions.Health(ctx, f.config)
		Expect(err).NotTo(HaveOccurred())
		Expect(health).To(
			And(
				HaveField("Standby", true), HaveField("Initialized", true), HaveField("Sealed", false),
				HaveField("Version", Not(BeEmpty())),
			),
		)
		session := f.session(ctx)
		location := secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2}
		_, err = secrets.Write(ctx, session, location, map[string]any{"password": canary}, 0)
		Expect(err).NotTo(HaveOccurred())
		secret, err := secrets.Read(ctx, session, location)
		Expect(err).NotTo(HaveOccurred())
		Expect(secret.Data).To(HaveKeyWithValue("password", canary))
		Expect(session.Renew(ctx)).To(Succeed())

		active.Stop()
		again := func() error {
			_, failure := secrets.Read(ctx, session, location)
			f.mute(failure)
			return failure
		}
		Eventually(again, "90s").Should(HaveOccurred())
		active.Start()
		Eventually(again, "90s").Should(Succeed())
	})
})

var _ = Describe("Vault's health", func() {
	var f *fixture

	BeforeEach(func() { f = newFixture() })

	// configs are many VaultConfigs that reach Vault in the same way.
	configs := func() []*v1alpha1.VaultConfig {
		many := make([]*v1alpha1.VaultConfig, 100)
		for i := range many {
			many[i] = f.config.DeepCopy()
			many[i].Name, many[i].UID = fmt.Sprintf("prod-%d", i), types.UID(fmt.Sprintf("%s-%d", f.config.UID, i))
		}
		return many
	}
	// all asks for the health that each of them sees, all at once.
	all := func(ctx context.Context, each func(*v1alpha1.VaultConfig, transport.Health, error)) {
		var wait sync.WaitGroup
		for _, config := range configs() {
			wait.Go(func() {
				defer GinkgoRecover()
				health, err := f.sessions.Health(ctx, config)
				each(config, health, err)
			})
		}
		wait.Wait()
	}
	checks := func() int { return proxy.Counts()["GET sys/health"] }

	It("is asked for once by all that reach Vault in the same way, and each is answered in its own name", func(ctx context.Context) {
		all(ctx, func(_ *v1alpha1.VaultConfig, health transport.Health, err error) {
			Expect(err).NotTo(HaveOccurred())
			Expect(health.Initialized).To(BeTrue())
		})
		Expect(checks()).To(Equal(1))
		f.later(20 * time.Second)
		proxy.Inject(env.Fault{Path: "sys/health", Status: 502, Body: "<html>"})
		failed := func(config *v1alpha1.VaultConfig, _ transport.Health, err error) {
			Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(ContainSubstring("(VaultConfig shop/" + config.Name + ")"))
		}
		all(ctx, failed)
		all(ctx, failed)
		Expect(checks()).To(Equal(2), "a failure is shared too")
		proxy.Heal()
		f.later(time.Second)
		all(ctx, func(_ *v1alpha1.VaultConfig, _ transport.Health, err error) { Expect(err).NotTo(HaveOccurred()) })
		Expect(checks()).To(Equal(3), "the return of Vault is seen soon")
	})

	DescribeTable("is read from the body, whatever the status says of the node that answers",
		func(ctx context.Context, status int, body string, want transport.Health) {
			proxy.Inject(env.Fault{Path: "sys/health", Status: status, ContentType: "application/json", Body: body})
			health, err := f.sessions.Health(ctx, f.config)
			Expect(err).NotTo(HaveOccurred())
			Expect(health).To(Equal(want))
		},
		Entry("a standby", 429, `{"initialized":true,"sealed":false,"standby":true,"version":"1.21.1","cluster_name":"c"}`,
			transport.Health{Initialized: true, Standby: true, Version: "1.21.1", ClusterName: "c"}),
		Entry("a performance standby", 473, `{"initialized":true,"sealed":false,"standby":true,"performance_standby":true,"version":"1.21.1+ent","cluster_name":"c"}`,
			transport.Health{Initialized: true, Standby: true, Version: "1.21.1+ent", ClusterName: "c"}),
		Entry("a disaster recovery secondary", 472,
			`{"initialized":true,"sealed":false,"standby":false,"replication_dr_mode":"secondary","version":"1.21.1+ent","cluster_name":"c"}`,
			transport.Health{Initialized: true, Secondary: true, Version: "1.21.1+ent", ClusterName: "c"}),
	)
})
