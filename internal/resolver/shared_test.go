package resolver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/internal/vault/transport/networks"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/pipes"
)

// TestWhoUsesASharedVaultConfigUpDelaysNoOther: one namespace reads all the time, and the same secret as the other, too.
func TestWhoUsesASharedVaultConfigUpDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		server, listener := pipes.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
			case path == "auth/token/lookup-self":
				_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"ttl":3600,"renewable":true,"policies":["p"],"type":"service"}}`)
			case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
				_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"kv/","type":"kv","options":{"version":"1"}}}`)
			default:
				_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"key":"value"}}`)
			}
		}))
		t.Cleanup(server.Close)
		scheme := apiruntime.NewScheme()
		g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
		g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
		g.Expect(metav1.AddMetaToScheme(scheme)).To(Succeed())
		ten := int32(10)
		config := builder.VaultConfig("shared", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
			c.UID = "config"
			c.Spec.EnginePath = "kv"
			c.Spec.Limits = &v1alpha1.VaultLimits{RequestsPerSecond: &ten}
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
				Names: []v1alpha1.NamespaceName{"greedy", "victim"}, PathPrefixes: []v1alpha1.PathPrefix{"kv"},
			}}
		})
		token := builder.TokenSecret("shared", config.Spec.Auth.Token.SecretKeyRef.Name, "token")
		objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(config, token).Build()
		sessions, err := session.NewSessions(session.Options{
			Reader: objects, AllowedURLs: []string{server.URL}, Networks: networks.Within(listener.Dial),
		})
		g.Expect(err).NotTo(HaveOccurred())
		e := NewEngine(objects, sessions, clock.RealClock{})
		attached := func(namespace, path string) *v1alpha1.Connection {
			secret := builder.VaultSecret("s", path)
			secret.VaultConfigRef = v1alpha1.VaultConfigReference{Namespace: "shared", Name: "main"}
			return builder.Connection(namespace, "db", map[string]any{"a": "vault.secret(s.key)"}, builder.WithSecrets(secret))
		}
		_, err = e.Values(t.Context(), attached("victim", "common"))
		g.Expect(err).NotTo(HaveOccurred())

		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer time.Sleep(time.Minute) // until reads end that nobody waits for any more
		defer running.Wait()
		defer stop()
		for i := range 60 {
			running.Go(func() {
				for ctx.Err() == nil {
					_, _ = e.Values(ctx, attached("greedy", fmt.Sprint("own", i)))
					_, _ = e.Values(ctx, attached("greedy", "common"))
					time.Sleep(time.Millisecond) // time passes only while all wait
				}
			})
		}
		time.Sleep(time.Second)
		for range 5 {
			began := time.Now()
			_, err := e.Values(t.Context(), attached("victim", "common"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(time.Since(began)).To(BeNumerically("<", 3*time.Second))
		}
	})
}
