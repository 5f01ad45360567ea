package vault_test

import (
	"context"
	"net"
	"net/http"
	"strings"
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

var _ = Describe("Failing", func() {
	var f *fixture

	BeforeEach(func() {
		f = newFixture()
		server.PutKV("secret/data/db", map[string]any{"password": canary})
	})

	read := func(ctx context.Context, session *session.Session) error {
		_, err := secrets.Read(
			ctx, session, secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: v1alpha1.KVVersion2},
		)
		return err
	}
	login := func(ctx context.Context) error {
		_, err := f.sessions.For(ctx, f.config)
		return err
	}

	It("says that Vault is sealed, and goes on once it is not", func(ctx context.Context) {
		session := f.session(ctx)
		server.Seal()
		DeferCleanup(server.Unseal)
		Expect(f.said(read(ctx, session), v1alpha1.ReasonVaultSealed)).To(Equal(
			"GET secret/data/db → 503 Vault is sealed " + as + "; unseal it"))
		health, err := f.sessions.Health(ctx, f.config)
		Expect(err).NotTo(HaveOccurred())
		Expect(health).To(And(HaveField("Sealed", true), HaveField("Initialized", true)))
		server.Unseal()
		Expect(read(ctx, session)).To(Succeed())
		Expect(logins()).To(Equal(1))
	})

	It("says that Vault does not answer, and goes on once it does", func(ctx context.Context) {
		f.config.Spec.URL = server.URL()
		session := f.session(ctx)
		server.Stop()
		DeferCleanup(func() {
			if _, err := server.Client().Sys().Health(); err != nil {
				server.Start()
			}
		})
		sentence := "no answer from " + server.URL() + ": connection refused " + as + checkPort
		Eventually(func() string { // at first the old connection may break, which is said in other words
			return f.said(read(ctx, session), v1alpha1.ReasonVaultUnreachable)
		}).Should(Equal("GET secret/data/db → " + sentence))
		_, err := f.sessions.Health(ctx, f.config)
		Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(Equal(
			"GET sys/health → no answer from " + server.URL() + ": connection refused (VaultConfig shop/prod)" + checkPort))
		_, err = f.sessions.For(ctx, newFixtureConfig(f))
		Expect(f.said(err, v1alpha1.ReasonVaultUnreachable)).To(Equal("GET auth/token/lookup-self → " + sentence))
		server.Start()
		Expect(read(ctx, session)).To(Succeed())
	})

	It("describes a healthy Vault without a token", func(ctx context.Context) {
		f.config.Spec.Auth.Token.SecretKeyRef.Name = "none"
		health, err := f.sessions.Health(ctx, f.config)
		Expect(err).NotTo(HaveOccurred())
		Expect(health).To(And(HaveField("Initialized", true), HaveField("Sealed", false), HaveField("Standby", false)))
		Expect(health.Version).To(MatchRegexp(`^\d+\.\d+\.\d+`))
		Expect(health.ClusterName).NotTo(BeEmpty())
		Expect(proxy.Counts()).To(Equal(map[string]int{"GET sys/health": 1}))
	})

	DescribeTable("tells what something in front of Vault did",
		func(ctx context.Context, fault env.Fault, reason, sentence string) {
			if fault.Hang {
				f.newSessions(session.Options{Timeout: 3 * time.Second})
			}
			session := f.session(ctx)
			fault.Path = "secret/"
			proxy.Inject(fault)
			said := f.said(read(ctx, session), reason)
			Expect(strings.ReplaceAll(said, proxy.URL(), "ORIGIN")).To(Equal("GET secret/data/db → " + sentence))
		},
		Entry("hang", env.Fault{Hang: true}, v1alpha1.ReasonVaultUnreachable, "no answer from ORIGIN: time-out after 3s "+as+
			"; check that network policies and firewalls let the controller reach Vault, and that Vault is not overloaded"),
		Entry("close", env.Fault{CloseBefore: true}, v1alpha1.ReasonVaultUnreachable, "no answer from ORIGIN: the connection broke "+as+
			"; check that Vault, and what stands before it, is well"),
		Entry("HTML", env.Fault{Status: 200, Body: "<html>" + canary}, v1alpha1.ReasonVaultUnreachable,
			"ORIGIN answered, but not as Vault does: status 200 with something that is not JSON "+as+"; check that spec.url is Vault's own address"),
		Entry("a firewall's 403", env.Fault{Status: 403, Body: "<html>" + canary}, v1alpha1.ReasonVaultUnreachable,
			"ORIGIN answered, but not as Vault does: status 403 with something that is not JSON "+as+"; check that spec.url is Vault's own address"),
		Entry("truncated JSON", env.Fault{
			Status: 200, ContentType: "application/json", Body: `{"request_id":"1","data":{"password":"` + canary,
		},
			v1alpha1.ReasonVaultUnreachable,
			"ORIGIN answered, but not as Vault does: status 200 with JSON that cannot be read "+as+"; check that spec.url is Vault's own address"),
		Entry("another API's JSON", env.Fault{
			Status: 404, ContentType: "application/json", Body: `{"message":"` + canary + `"}`,
		},
			v1alpha1.ReasonVaultUnreachable,
			"ORIGIN answered, but not as Vault does: status 404 with JSON that is not Vault's "+as+"; check that spec.url is Vault's own address"),
		Entry("a redirect", env.Fault{
			Status: 307, Header: http.Header{"Location": {"https://evil.example/v1/secret/data/db"}},
		},
			v1alpha1.ReasonVaultUnreachable,
			"307 redirect to another address, which is not followed "+as+"; point spec.url at Vault's active node or at a load balancer that finds it"),
		Entry("a quota", env.Fault{Status: 429, ContentType: "application/json", Body: `{"errors":["request path: rate limit quota exceeded"]}`},
			v1alpha1.ReasonRateLimited, "429 too many requests "+as+"; a quota in Vault is used up"),
		Entry("an error of Vault's", env.Fault{
			Status: 500, ContentType: "application/json", Body: `{"errors":["` + canary + `"]}`,
		},
			v1alpha1.ReasonVaultError, "500 an error inside Vault "+as+"; Vault's own log says more"),
		Entry("503 though Vault is not sealed", env.Fault{
			Status: 503, ContentType: "application/json", Body: `{"errors":["upstream"]}`,
		},
			v1alpha1.ReasonVaultError, "503 an error inside Vault "+as+"; Vault's own log says more"),
		Entry("400", env.Fault{Status: 400, ContentType: "application/json", Body: `{"errors":["` + canary + `"]}`},
			v1alpha1.ReasonInvalidRequest, "400 Vault rejects the request "+as+"; check path and engine"),
	)

	It("says that Vault is not initialized", func(ctx context.Context) {
		session := f.session(ctx)
		proxy.Inject(
			env.Fault{Path: "secret/", Status: 503, ContentType: "application/json", Body: `{"errors":["Vault is sealed"]}`},
		)
		proxy.Inject(
			env.Fault{
				Path: "sys/health", Status: 501, ContentType: "application/json", Body: `{"initialized":false,"sealed":true}`,
			},
		)
		Expect(f.said(read(ctx, session), v1alpha1.ReasonVaultSealed)).To(Equal(
			"GET secret/data/db → 503 Vault is not initialized " + as + "; initialize and unseal it"))
	})

	It("stops when the caller does", func(ctx context.Context) {
		session := f.session(ctx)
		proxy.Inject(env.Fault{Path: "secret/", Hang: true})
		impatient, cancel := context.WithCancel(ctx)
		time.AfterFunc(100*time.Millisecond, cancel)
		Expect(f.said(read(impatient, session), v1alpha1.ReasonInternal)).To(Equal("GET secret/data/db → given up before Vault answered " + as))
	})

	Describe("at TLS", func() {
		failed := func(ctx context.Context) string {
			said := f.said(login(ctx), v1alpha1.ReasonTLSFailed)
			return strings.ReplaceAll(said, proxy.URL(), "ORIGIN")
		}
		const authority = "GET auth/token/lookup-self → no TLS with ORIGIN: its certificate is signed by an unknown authority " + as +
			"; give spec.caCertificate or spec.caCertificateFrom that authority's certificate"

		It("says that the authority is unknown", func(ctx context.Context) {
			f.config.Spec.CACertificate = ""
			Expect(failed(ctx)).To(Equal(authority))
		})

		It("says that the certificate is another name's", func(ctx context.Context) {
			_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL(), "https://"))
			Expect(err).NotTo(HaveOccurred())
			f.config.Spec.URL = "https://127.0.0.2:" + port
			f.newSessions(session.Options{})
			// Vault listens on 127.0.0.1 only; any server with its certificate will do.
			forward(ctx, "127.0.0.2:"+port, "127.0.0.1:"+port)
			Expect(strings.ReplaceAll(failed(ctx), port, "PORT")).To(Equal(
				"GET auth/token/lookup-self → no TLS with https://127.0.0.2:PORT: its certificate is not valid for this name " + as +
					"; use a name in spec.url that the certificate holds, or give one in spec.tls.serverName"))
		})

		It("says that a port speaks http", func(ctx context.Context) {
			plain := http.Server{ReadHeaderTimeout: time.Second, Handler: http.NotFoundHandler()}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			Expect(err).NotTo(HaveOccurred())
			go func() { _ = plain.Serve(listener) }()
			DeferCleanup(plain.Close)
			f.config.Spec.URL = "https://" + listener.Addr().String()
			Expect(f.said(login(ctx), v1alpha1.ReasonTLSFailed)).To(Equal(
				"GET auth/token/lookup-self → no TLS with " + f.config.Spec.URL + ": the server speaks http, not https " + as +
					"; check the port in spec.url, or turn on TLS in Vault"))
		})

		It("says that a port speaks https", func(ctx context.Context) {
			f.config.Spec.URL = strings.Replace(server.URL(), "https", "http", 1)
			f.newSessions(session.Options{AllowedURLs: []string{f.config.Spec.URL}})
			Expect(f.said(login(ctx), v1alpha1.ReasonVaultUnreachable)).To(Equal(
				"GET auth/token/lookup-self → no answer from " + f.config.Spec.URL + ": the server speaks https, not http " + as +
					"; write https:// in spec.url"))
		})

		It("reads the authority from a ConfigMap or a Secret, and follows its change", func(ctx context.Context) {
			other, err := env.StartVault(ctx)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(other.Close)
			f.config.Spec.CACertificate = ""
			f.config.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{
				ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca.crt"},
			}
			Expect(f.said(login(ctx), v1alpha1.ReasonCredentialMissing)).To(Equal(
				"ConfigMap shop/ca does not exist (VaultConfig shop/prod); create it"))
			f.setConfigMap("ca", "ca.crt", other.CACertificate())
			Expect(failed(ctx)).To(Equal(authority))
			f.setConfigMap("ca", "ca.crt", "nonsense")
			Expect(f.said(login(ctx), v1alpha1.ReasonInvalidSpec)).To(Equal(
				`spec.caCertificateFrom: ConfigMap shop/ca, key "ca.crt", holds no PEM certificate (VaultConfig shop/prod); ` +
					"put the PEM certificate of the authority that signed Vault's there"))
			f.setConfigMap("ca", "ca.crt", server.CACertificate())
			session := f.session(ctx)
			Expect(read(ctx, session)).To(Succeed())

			By("distrusting the old authority within a minute")
			f.setConfigMap("ca", "ca.crt", other.CACertificate())
			Expect(read(ctx, session)).To(Succeed())
			f.later(61 * time.Second)
			f.said(read(ctx, session), v1alpha1.ReasonTLSFailed)
			f.setConfigMap("ca", "ca.crt", server.CACertificate())
			Expect(read(ctx, session)).To(Succeed())

			f.config.Generation = 2
			f.config.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{
				SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"},
			}
			Expect(f.said(login(ctx), v1alpha1.ReasonCredentialMissing)).To(Equal("Secret shop/ca does not exist (VaultConfig shop/prod); create it"))
			f.setSecret("ca", "ca.crt", server.CACertificate())
			Expect(login(ctx)).To(Succeed())
		})

		It("says that the inline authority is no certificate", func(ctx context.Context) {
			f.config.Spec.CACertificate = "nonsense"
			Expect(f.said(login(ctx), v1alpha1.ReasonInvalidSpec)).To(Equal(
				"spec.caCertificate: holds no PEM certificate (VaultConfig shop/prod); paste the PEM certificate of the authority that signed Vault's"))
		})
	})

	It("says what is wrong with spec.url before anything is read or sent", func(ctx context.Context) {
		f.config.Spec.URL = "http://vault:8200"
		Expect(f.said(login(ctx), v1alpha1.ReasonInvalidSpec)).To(Equal("spec.url: http://vault:8200 is not encrypted; use https, " +
			"or have this address listed in the controller's --allowed-vault-urls (VaultConfig shop/prod)"))
		Expect(f.secretReads.Load()).To(BeZero())
	})

	It("says that a host does not exist", func(ctx context.Context) {
		f.config.Spec.URL = "https://vault.invalid:8200"
		Expect(f.said(login(ctx), v1alpha1.ReasonVaultUnreachable)).To(MatchRegexp(
			`^GET auth/token/lookup-self → no answer from https://vault\.invalid:8200: (no such host|its name could not be looked up) \(`))
	})
})

// checkPort is the cure of a connection that is refused.
const checkPort = "; check the port in spec.url, and that Vault runs"

// newFixtureConfig is the fixture's VaultConfig as another object, for which there is no session yet.
func newFixtureConfig(f *fixture) *v1alpha1.VaultConfig {
	config := f.config.DeepCopy()
	config.UID += types.UID("-other")
	return config
}

func secretOf(namespace string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}}
}

func inNamespace(namespace string) client.DeleteAllOfOption { return client.InNamespace(namespace) }
