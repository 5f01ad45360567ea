package secrets

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/heap"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// TestOneNamespacesEnginesMakeNobodyElsesBeForgotten: a tenant whose Vault has engines without number.
func TestOneNamespacesEnginesMakeNobodyElsesBeForgotten(t *testing.T) {
	g := NewWithT(t)
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
		case path == "auth/token/lookup-self":
			_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"ttl":3600,"renewable":true,"policies":["p"],"type":"service"}}`)
		case path == "sys/health":
			_, _ = fmt.Fprint(w, `{"initialized":true,"sealed":false,"standby":false,"version":"1.21.1"}`)
		case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
			if path == "sys/internal/ui/mounts/kv" {
				asked.Add(1)
			}
			_, _ = fmt.Fprintf(w, `{"request_id":"r","data":{"path":"%s/","type":"kv","options":{"version":"1"}}}`,
				strings.TrimPrefix(path, "sys/internal/ui/mounts/"))
		default:
			_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"key":"value"}}`)
		}
	}))
	t.Cleanup(server.Close)
	sessionOf := func(namespace string) *session.Session {
		scheme := runtime.NewScheme()
		g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
		config := builder.VaultConfig(namespace, "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) { c.UID = types.UID(namespace) })
		token := builder.TokenSecret(namespace, config.Spec.Auth.Token.SecretKeyRef.Name, "token")
		sessions, err := session.NewSessions(session.Options{
			Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(token).Build(), AllowedURLs: []string{server.URL},
		})
		g.Expect(err).NotTo(HaveOccurred())
		s, err := sessions.For(t.Context(), config)
		g.Expect(err).NotTo(HaveOccurred())
		return s
	}
	victim, hostile := sessionOf("victim"), sessionOf("hostile")
	read := func() {
		_, err := Read(t.Context(), victim, Location{EnginePath: "kv", SecretPath: "db"})
		g.Expect(err).NotTo(HaveOccurred())
	}
	read()
	g.Expect(asked.Load()).To(BeEquivalentTo(1))
	const engines = 2 * heap.Engines / enginePrice
	err := hostile.Do(t.Context(), func(_ context.Context, conn *session.Conn) error {
		for i := range engines {
			remember(conn, engineKey{engine: fmt.Sprint("engine", i), path: "db"}, engineFact{shared: true})
		}
		return nil
	})
	g.Expect(err).NotTo(HaveOccurred())
	read()
	g.Expect(asked.Load()).To(BeEquivalentTo(1), "what is known of the victim's engine is still known")
	g.Expect(known.Len()).To(BeNumerically("<", 2*heap.EnginesShare/enginePrice), "the other keeps no more than a share")
}
