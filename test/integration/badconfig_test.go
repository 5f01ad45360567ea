package integration

import (
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultConfig that cannot work says why, and what cures it", func() {
	DescribeTable("before Vault is asked",
		func(reason, sentence string, mutate func(*v1alpha1.VaultConfig)) {
			namespace := newNamespace()
			tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
			create(
				&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "odd"}, Data: map[string][]byte{
					"empty": nil, "spaces": []byte("hvs. with spaces"), "newline": []byte("hvs.a\nb"),
				}},
				&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "odd"}, Data: map[string]string{"no-pem": "certificate"}},
			)
			config := vault.Config(namespace, "main", mutate)
			create(config)
			expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, ContainSubstring(strings.ReplaceAll(sentence, "NS", namespace)))
			reachable := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReachable)
			if reason == v1alpha1.ReasonVaultUnreachable || reason == v1alpha1.ReasonTLSFailed {
				Expect(reachable.Status).To(Equal(metav1.ConditionFalse), "%+v", reachable)
			} else {
				Expect(reachable.Status).NotTo(Equal(metav1.ConditionFalse), "Vault was not asked: %+v", reachable)
			}
		},
		Entry("http instead of https", v1alpha1.ReasonInvalidSpec, "spec.url",
			func(c *v1alpha1.VaultConfig) { c.Spec.URL = strings.Replace(c.Spec.URL, "https", "http", 1) }),
		Entry("a URL with dots in its path", v1alpha1.ReasonInvalidSpec, "spec.url: has a path with an empty part or dots",
			func(c *v1alpha1.VaultConfig) { c.Spec.URL += "/a/../b" }),
		Entry("a proxy in front of http", v1alpha1.ReasonInvalidSpec, "spec.url",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.URL = strings.Replace(c.Spec.URL, "https", "http", 1)
				c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "http://proxy.example.com"}
			}),
		Entry("a proxy that nobody answers at", v1alpha1.ReasonVaultUnreachable, "the proxy http://127.0.0.1:1 does not lead to "+
			"https://127.0.0.1", func(c *v1alpha1.VaultConfig) { c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "http://127.0.0.1:1"} }),
		Entry("a client certificate that does not exist", v1alpha1.ReasonCredentialMissing, "Secret NS/none does not exist", func(c *v1alpha1.VaultConfig) {
			c.Spec.TLS = &v1alpha1.VaultTLS{ClientCertificateSecretRef: &v1alpha1.TLSSecretReference{Name: "none"}}
		}),
		Entry("a client certificate without the keys of one", v1alpha1.ReasonCredentialMissing, `Secret NS/odd has no key "tls.crt"`, func(c *v1alpha1.VaultConfig) {
			c.Spec.TLS = &v1alpha1.VaultTLS{ClientCertificateSecretRef: &v1alpha1.TLSSecretReference{Name: "odd"}}
		}),
		Entry("a server name that Vault's certificate does not hold", v1alpha1.ReasonTLSFailed, "give one in spec.tls.serverName",
			func(c *v1alpha1.VaultConfig) { c.Spec.TLS = &v1alpha1.VaultTLS{ServerName: "vault.example.com"} }),
		Entry("a CA that is no PEM", v1alpha1.ReasonInvalidSpec, "spec.caCertificate",
			func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "certificate" }),
		Entry("a CA ConfigMap that does not exist", v1alpha1.ReasonCredentialMissing, "ConfigMap NS/none",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificate = ""
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "none", Key: "ca"}}
			}),
		Entry("a Secret that does not exist", v1alpha1.ReasonCredentialMissing, "Secret NS/none",
			func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Name = "none" }),
		Entry("a Secret without the key", v1alpha1.ReasonCredentialMissing, `"none"`,
			func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token.SecretKeyRef.Key = "none" }),
		Entry("a Secret with an empty key", v1alpha1.ReasonCredentialMissing, `"empty"`,
			func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth.Token.SecretKeyRef = v1alpha1.SecretKeyReference{Name: "odd", Key: "empty"}
			}),
	)

	It("when Vault, or something in front of it, misbehaves, and asks it only now and then", func() {
		json := func(path string, status int, body string) env.Fault {
			return env.Fault{Path: path, Status: status, ContentType: "application/json", Body: body}
		}
		cases := []struct {
			name             string
			fault            env.Fault
			reason, sentence string
			proxy            *env.Proxy
			config           *v1alpha1.VaultConfig
			since            time.Time
		}{
			{name: "html", fault: env.Fault{Status: 200, Body: "<html>"},
				reason: v1alpha1.ReasonVaultUnreachable, sentence: "answered, but not as Vault does: status 200 with something that is not JSON"},
			{name: "hang", fault: env.Fault{Path: "auth/", Hang: true}, reason: v1alpha1.ReasonVaultUnreachable, sentence: "time-out after 2s"},
			{name: "close", fault: env.Fault{CloseBefore: true}, reason: v1alpha1.ReasonVaultUnreachable, sentence: "no answer from"},
			{name: "redirect", fault: env.Fault{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example.com/v1/sys/health"}}},
				reason: v1alpha1.ReasonVaultUnreachable, sentence: "307 redirect to another address, which is not followed"},
			{name: "quota", fault: json("auth/", 429, `{"errors":["quota"]}`), reason: v1alpha1.ReasonRateLimited, sentence: "429 too many requests"},
			{name: "quota-for-health", fault: json("sys/health", 429, `{"errors":["quota"]}`),
				reason: v1alpha1.ReasonRateLimited, sentence: "429 too many requests"},
			{name: "error", fault: json("", 500, `{"errors":["internal"]}`), reason: v1alpha1.ReasonVaultError, sentence: "500 an error inside Vault"},
			{name: "secondary", fault: json("sys/health", 472, `{"initialized":true,"sealed":false,"replication_dr_mode":"secondary"}`),
				reason: v1alpha1.ReasonVaultError, sentence: "is a disaster recovery secondary, which serves nobody until it is promoted; point spec.url at the primary"},
		}
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		for i := range cases {
			c := &cases[i]
			var err error
			c.proxy, err = env.StartProxy(vault)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(c.proxy.Close)
			c.proxy.Inject(c.fault)
			c.config = vault.Config(namespace, c.name, func(config *v1alpha1.VaultConfig) {
				config.Spec.URL = c.proxy.URL()
				config.Spec.Limits = &v1alpha1.VaultLimits{Timeout: &metav1.Duration{Duration: 2 * time.Second}}
			})
			create(c.config)
		}
		for i := range cases {
			c := &cases[i]
			expectCondition(c.config, v1alpha1.ConditionReady, metav1.ConditionFalse, c.reason, ContainSubstring(c.sentence))
			c.proxy.Reset()
			c.since = time.Now()
		}
		Consistently(func(g Gomega) {
			for _, c := range cases {
				total := 0
				for _, count := range c.proxy.Counts() {
					total += count
				}
				few := 10 + int(time.Since(c.since)/time.Second)
				g.Expect(total).To(BeNumerically("<=", few), "a tight loop would ask hundreds of times: %s", c.name)
			}
		}, "3s").Should(Succeed())
		for _, c := range cases {
			c.proxy.Heal()
		}
		for _, c := range cases {
			expectCondition(c.config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		}
	})

	It("when Vault's certificate is signed by another authority", func() {
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vault.Config(namespace, "main", func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "" })
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTLSFailed, ContainSubstring("caCertificate"))
	})

	It("when nothing listens at the URL", func() {
		namespace := newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
		config := vault.Config(namespace, "main", builder.WithURL("https://127.0.0.1:1"))
		create(config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable, ContainSubstring("connection refused"))
		expectCondition(config, v1alpha1.ConditionReachable, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable)
	})

	It("when the token is unknown to Vault, and takes up a good one at once", func() {
		namespace := newNamespace()
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "vault-token"}, Data: map[string][]byte{"token": []byte("hvs.nobody-knows-me")}}
		config := vault.Config(namespace, "main")
		create(secret, config)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed, ContainSubstring("Secret "+namespace+"/vault-token"))
		expectCondition(config, v1alpha1.ConditionAuthenticated, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)
		token := vault.Token(env.TokenOptions{Policies: []string{"all-secrets"}})
		remember(token)
		update(secret, func(s *corev1.Secret) { s.Data["token"] = []byte(token) })
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("at admission, when no auth method is set", func() {
		config := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "VaultConfig",
			"metadata": map[string]any{"name": "main", "namespace": newNamespace()},
			"spec":     map[string]any{"url": vault.URL(), "auth": map[string]any{}},
		}}
		Expect(cp.Client.Create(ctx, config)).To(MatchError(ContainSubstring("exactly one of the fields in [token kubernetes jwt appRole userPass ldap cert] must be set")))
	})

	It("at admission, when the token is to be a header, in one sentence however it is written", func() {
		for _, header := range []v1alpha1.VaultHeader{
			{Name: "X-Vault-Token", Value: "x"},
			{Name: "X-Vault-Token", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "a", Key: "b"}},
		} {
			err := cp.Client.Create(ctx, vault.Config(newNamespace(), "main", withHeader(header)))
			Expect(err).To(MatchError(ContainSubstring("the login's: leave the header out, and name the Secret with the token in auth.token")))
			Expect(strings.Count(err.Error(), "spec.headers")).To(Equal(1), "%v", err)
		}
	})

	DescribeTable("at admission",
		func(message string, mutate func(*v1alpha1.VaultConfig)) {
			config := vault.Config(newNamespace(), "main", mutate)
			Expect(cp.Client.Create(ctx, config)).To(MatchError(ContainSubstring(message)))
		},
		Entry("no auth", "spec.auth: Required value", func(c *v1alpha1.VaultConfig) { c.Spec.Auth.Token = nil }),
		Entry("no URL", "spec.url", func(c *v1alpha1.VaultConfig) { c.Spec.URL = "" }),
		Entry("two CA certificates", "set caCertificate or caCertificateFrom, not both",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "ca", Key: "ca"}}
			}),
		Entry("a proxy with a password", "no user name and password",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "http://user:pass@proxy.example.com:3128"}
			}),
		Entry("a proxy with a path", "write the proxy's origin",
			func(c *v1alpha1.VaultConfig) { c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "http://proxy.example.com/x"} }),
		Entry("a SOCKS proxy", "write the proxy's origin",
			func(c *v1alpha1.VaultConfig) { c.Spec.Proxy = &v1alpha1.VaultProxy{URL: "socks5://proxy.example.com"} }),
		Entry("a server name with a port", "without scheme and port",
			func(c *v1alpha1.VaultConfig) { c.Spec.TLS = &v1alpha1.VaultTLS{ServerName: "vault.example.com:8200"} }),
		Entry("a Vault namespace with a slash before it", "no slash before it", func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "/team-a" }),
		Entry("a Vault namespace with a line break", "no spaces", func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "team-a\nX-Vault-Token: x" }),
		Entry("a header that is a token", "name is X-Vault-Token, which is the login's: leave the header out, and name the Secret with the token in auth.token",
			withHeader(v1alpha1.VaultHeader{Name: "x-vaulT-Token", Value: "x"})),
		Entry("a header that is a token of a Secret", "name the Secret with the token in auth.token", withHeader(v1alpha1.VaultHeader{
			Name: "X-Vault-Token", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "a", Key: "b"},
		})),
		Entry("a header that is a namespace", "name begins with X-Vault-", withHeader(v1alpha1.VaultHeader{Name: "X-Vault-Namespace", Value: "x"})),
		Entry("a header that Vault takes for a token", "say in auth who logs in", withHeader(v1alpha1.VaultHeader{Name: "Authorization", Value: "x"})),
		Entry("a header that says where a request comes from", "set it", withHeader(v1alpha1.VaultHeader{Name: "X-Forwarded-For", Value: "x"})),
		Entry("a header of the connection", "belongs to the connection or to the body", withHeader(v1alpha1.VaultHeader{Name: "Host", Value: "x"})),
		Entry("a header by which servers take another path", "another method or path", withHeader(v1alpha1.VaultHeader{Name: "X-Original-URL", Value: "/"})),
		Entry("a credential that everybody reads", "put its text into a Secret", withHeader(v1alpha1.VaultHeader{Name: "X-Api-Key", Value: "x"})),
		Entry("a header for a proxy", "belongs to the connection or to the body", withHeader(v1alpha1.VaultHeader{Name: "Proxy-Authorization", Value: "x"})),
		Entry("a header that no header can be called", "letters, digits and single hyphens", withHeader(v1alpha1.VaultHeader{Name: "X_Vault_Token", Value: "x"})),
		Entry("a header of two lines", "printable characters of ASCII on one line", withHeader(v1alpha1.VaultHeader{Name: "X-A", Value: "x\r\nX-Vault-Token: y"})),
		Entry("a header without text", "set exactly one of value and secretKeyRef of a header", withHeader(v1alpha1.VaultHeader{Name: "X-A"})),
		Entry("a header with two texts", "set exactly one of value and secretKeyRef of a header", withHeader(v1alpha1.VaultHeader{
			Name: "X-A", Value: "x", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "a", Key: "b"},
		})),
		Entry("a header twice", "the names of headers must be unique", withHeader(
			v1alpha1.VaultHeader{Name: "X-A", Value: "x"}, v1alpha1.VaultHeader{Name: "x-a", Value: "x"})),
		Entry("an outage that pods bridge for days", "serveFor must be from 1m to 24h", func(c *v1alpha1.VaultConfig) {
			c.Spec.Outage = &v1alpha1.VaultOutage{ServeFor: &metav1.Duration{Duration: 48 * time.Hour}}
		}),
		Entry("an outage of no length", "spec.outage.serveFor: Required value", func(c *v1alpha1.VaultConfig) { c.Spec.Outage = &v1alpha1.VaultOutage{} }),
		Entry("a burst of nothing", "set requestsPerSecond too",
			func(c *v1alpha1.VaultConfig) { burst := int32(1); c.Spec.Limits = &v1alpha1.VaultLimits{Burst: &burst} }),
		Entry("no patience at all", "timeout must be from 1s to 60s", func(c *v1alpha1.VaultConfig) {
			c.Spec.Limits = &v1alpha1.VaultLimits{Timeout: &metav1.Duration{Duration: time.Millisecond}}
		}),
		Entry("a CA certificate from nowhere", "set exactly one of configMapKeyRef and secretKeyRef",
			func(c *v1alpha1.VaultConfig) {
				c.Spec.CACertificate = ""
				c.Spec.CACertificateFrom = &v1alpha1.CACertificateSource{}
			}),
	)
})
