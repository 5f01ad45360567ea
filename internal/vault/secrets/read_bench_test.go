package secrets

import (
	"os"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/farvault"
)

func TestMain(m *testing.M) { os.Exit(farvault.Run(m)) }

// BenchmarkRead is what one read of a secret costs this process, from the session to the socket and back.
func BenchmarkRead(b *testing.B) {
	g := NewWithT(b)
	url, certificate := farvault.Start(b)
	scheme := runtime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	config := builder.VaultConfig("shop", "main", builder.WithAddress(url, certificate), func(c *v1alpha1.VaultConfig) { c.UID = "uid" })
	token := builder.TokenSecret("shop", config.Spec.Auth.Token.SecretKeyRef.Name, "token")
	sessions, err := session.NewSessions(session.Options{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(token).Build()})
	g.Expect(err).NotTo(HaveOccurred())
	s, err := sessions.For(b.Context(), config)
	g.Expect(err).NotTo(HaveOccurred())
	read := func() {
		secret, err := Read(b.Context(), s, Location{EnginePath: "secret", SecretPath: "shop/db"})
		if err != nil || secret.Version != 7 || secret.Data["user"] != "scott" {
			b.Fatal(secret, err)
		}
	}
	read()
	b.ReportAllocs()
	over := farvault.CPU(b)
	defer over()
	for b.Loop() {
		read()
	}
}
