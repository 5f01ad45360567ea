package transport

import (
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

// TestNoHeaderMakesAnotherRequestOfOne also where the API's own rules do not stand before it, as in a file.
func TestNoHeaderMakesAnotherRequestOfOne(t *testing.T) {
	g := NewWithT(t)
	for _, name := range []string{"X-Tenant", "Cookie", "x-api-key", "CF-Access-Client-Id", "Api2"} {
		g.Expect((&v1alpha1.VaultHeader{Name: name}).MayBeSent()).To(BeTrue(), name)
	}
	for _, name := range []string{
		"", "X_Vault_Token", "X-", "-X", "X--Y", "X Y", "X:Y", "X-Vault-Token", "x-vaULt-namespace", "X-Vault-Wrap-TTL", "Authorization", "AUTHORIZATION",
		"Forwarded", "X-Forwarded-For", "x-real-ip", "X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL", "Host", "Connection", "Keep-Alive", "TE",
		"Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Proxy-Authorization", "Accept", "Accept-Encoding", "Content-Length", "content-type", "If-Match",
		"Range", "User-Agent",
	} {
		config := builder.VaultConfig("shop", "prod", func(c *v1alpha1.VaultConfig) { c.Spec.Headers = []v1alpha1.VaultHeader{{Name: name, Value: "x"}} })
		_, err := ReadConfig(t.Context(), fake.NewClientBuilder().Build(), config, "https://vault", "")
		g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue(), name)
	}
}

func TestATokenIsNoHeader(t *testing.T) {
	config := builder.VaultConfig("shop", "prod", func(c *v1alpha1.VaultConfig) {
		c.Spec.Headers = []v1alpha1.VaultHeader{{Name: "x-vault-token", Value: "x"}}
	})
	_, err := ReadConfig(t.Context(), fake.NewClientBuilder().Build(), config, "https://vault", "")
	NewWithT(t).Expect(err).To(MatchError(`spec.headers: "x-vault-token" may not be sent (VaultConfig shop/prod); ` +
		`leave it out, for it is the login's: name the Secret with the token in auth.token`))
}

func TestReadHeaders(t *testing.T) {
	const secret = `spec.headers: Secret shop/gateway, key "k", `
	for name, test := range map[string]struct {
		data             map[string]string
		want             string
		reason, sentence string
	}{
		"a text":             {data: map[string]string{"k": "Bearer hunter2"}, want: "Bearer hunter2"},
		"with a line break":  {data: map[string]string{"k": " hunter2\n"}, want: "hunter2"},
		"no such Secret":     {reason: v1alpha1.ReasonCredentialMissing, sentence: "Secret shop/gateway does not exist (VaultConfig shop/prod); create it"},
		"no such key":        {data: map[string]string{"other": "x"}, reason: v1alpha1.ReasonCredentialMissing, sentence: `Secret shop/gateway has no key "k" (VaultConfig shop/prod); add it`},
		"nothing":            {data: map[string]string{"k": "\n"}, reason: v1alpha1.ReasonCredentialMissing, sentence: secret + "is empty (VaultConfig shop/prod); put the text of the header there"},
		"two lines":          {data: map[string]string{"k": "hunter2\r\nX-Vault-Token: x"}, reason: v1alpha1.ReasonInvalidSpec, sentence: secret + "holds characters that a header cannot have (VaultConfig shop/prod); put the text of the header alone there, on one line"},
		"what is not ASCII":  {data: map[string]string{"k": "hünter2"}, reason: v1alpha1.ReasonInvalidSpec, sentence: secret + "holds characters that a header cannot have (VaultConfig shop/prod); put the text of the header alone there, on one line"},
		"more than a header": {data: map[string]string{"k": strings.Repeat("hunter2", 1000)}, reason: v1alpha1.ReasonInvalidSpec, sentence: secret + "holds more than 4096 bytes (VaultConfig shop/prod); put the text of the header alone there"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme := runtime.NewScheme()
			g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
			objects := fake.NewClientBuilder().WithScheme(scheme)
			if test.data != nil {
				objects.WithObjects(builder.Secret("shop", "gateway", test.data))
			}
			config := builder.VaultConfig("shop", "prod", func(c *v1alpha1.VaultConfig) {
				c.Spec.Headers = []v1alpha1.VaultHeader{
					{Name: "X-Tenant", Value: "shop"},
					{Name: "X-Key", SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "gateway", Key: "k"}},
				}
			})
			g.Expect(ReadsObjects(config)).To(BeTrue())
			found, err := ReadConfig(t.Context(), objects.Build(), config, "https://vault", "")
			if test.sentence != "" {
				g.Expect(err).To(MatchError(test.sentence))
				g.Expect(fault.Is(err, test.reason)).To(BeTrue())
				g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting))
				g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			sent := http.Header{}
			found.Headers.addTo(sent)
			g.Expect(sent).To(Equal(http.Header{"X-Tenant": {"shop"}, "X-Key": {test.want}}))
		})
	}
	g := NewWithT(t)
	literal := builder.VaultConfig("shop", "prod", func(c *v1alpha1.VaultConfig) {
		c.Spec.Headers = []v1alpha1.VaultHeader{{Name: "X-Tenant", Value: "shop"}}
	})
	g.Expect(ReadsObjects(literal)).To(BeFalse(), "nothing is read every minute for it")
	g.Expect(newHeaders(nil)).To(Equal(Headers{}), "who has none shares the transports of all who have none")
}
