package vault_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("The environment", func() {
	It("has no effect", func(ctx context.Context) {
		var trapped atomic.Int64
		trap := http.Server{
			ReadHeaderTimeout: time.Second,
			Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }),
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		Expect(err).NotTo(HaveOccurred())
		go func() { _ = trap.Serve(listener) }()
		DeferCleanup(trap.Close)
		address := "http://" + listener.Addr().String()

		certificates := filepath.Join(GinkgoT().TempDir(), "ca.crt")
		Expect(os.WriteFile(certificates, []byte(server.CACertificate()), 0o600)).To(Succeed())
		root := server.RootToken()
		f := newFixture()
		for name, value := range map[string]string{
			"VAULT_ADDR": address, "VAULT_AGENT_ADDR": address, "VAULT_TOKEN": root, "VAULT_NAMESPACE": "elsewhere",
			"VAULT_SKIP_VERIFY": "true", "VAULT_HTTP_PROXY": address, "VAULT_PROXY_ADDR": address, "VAULT_CACERT": certificates,
			"VAULT_CLIENT_CERT": "/nonexistent", "VAULT_CLIENT_KEY": "/nonexistent", "VAULT_HEADERS": "not json",
			"VAULT_WRAP_TTL":   "60s",
			"VAULT_RATE_LIMIT": "nonsense", "VAULT_CLIENT_TIMEOUT": "nonsense", "VAULT_MAX_RETRIES": "99",
			"VAULT_SRV_LOOKUP":      "true",
			"VAULT_TLS_SERVER_NAME": "elsewhere", "SSL_CERT_FILE": certificates, "SSL_CERT_DIR": filepath.Dir(certificates),
			"HTTPS_PROXY": address, "https_proxy": address, "HTTP_PROXY": address, "ALL_PROXY": address,
		} {
			GinkgoT().Setenv(name, value)
		}
		f.newSessions(session.Options{})
		server.PutKV("secret/data/db", map[string]any{"password": canary})

		session := f.session(ctx)
		Expect(session.Token().Policies).To(Equal([]string{"default", "reader"}), "not the root token of VAULT_TOKEN")
		secret, err := secrets.Read(ctx, session, at("db"))
		Expect(err).NotTo(HaveOccurred())
		Expect(secret.Data).To(HaveKeyWithValue("password", canary), "not wrapped")

		By("not trusting what the environment trusts")
		f.config.Generation, f.config.Spec.CACertificate = 2, ""
		_, err = f.sessions.For(ctx, f.config)
		Expect(f.said(err, "TLSFailed")).To(ContainSubstring("unknown authority"))
		Expect(trapped.Load()).To(BeZero())
	})

	It("is not asked to try again", func(ctx context.Context) {
		f := newFixture()
		session := f.session(ctx)
		proxy.Inject(env.Fault{Path: "secret/", Status: 500, ContentType: "application/json", Body: `{"errors":[]}`})
		_, err := secrets.Read(ctx, session, secrets.Location{EnginePath: "secret", SecretPath: "db", KVVersion: "V2"})
		Expect(err).To(HaveOccurred())
		Expect(proxy.Counts()).To(HaveKeyWithValue("GET secret/data/db", 1))
	})
})

// forward passes connections at one address on to another until the spec ends.
func forward(ctx context.Context, from, to string) {
	GinkgoHelper()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", from)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(listener.Close)
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
}
