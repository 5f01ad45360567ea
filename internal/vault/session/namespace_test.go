package session

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/transport"
	"sallyport.dev/sallyport/test/builder"
)

// enterprise answers as Vault Enterprise documents it of namespaces, which the community's program does not have: it
// shows that Sallyport asks as the documentation says, not that Vault answers so. A token of one namespace is good in
// those below, but what concerns the token itself is answered in its own namespace only.
type enterprise struct {
	// of is the namespace of the token, without slashes around it; empty: the root.
	of string
	// opaque: the token's policies do not let it look itself up.
	opaque bool

	mu   sync.Mutex
	seen []string
}

func (e *enterprise) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := strings.Trim(r.Header.Get("X-Vault-Namespace"), "/")
	own, good := in == e.of, in == e.of || e.of == "" || strings.HasPrefix(in, e.of+"/")
	e.mu.Lock()
	e.seen = append(e.seen, in+": "+strings.TrimPrefix(r.URL.Path, "/v1/"))
	e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := func(status int, body string) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
	path := ""
	if e.of != "" {
		path = fmt.Sprintf(`"namespace_path":%q,`, e.of+"/")
	}
	switch r.URL.Path {
	case "/v1/auth/token/lookup-self":
		if own && !e.opaque {
			answer(200, `{"request_id":"1","data":{`+path+`"ttl":3600,"creation_ttl":3600,"renewable":true,"expire_time":"2099-01-01T00:00:00Z"}}`)
			return
		}
	case "/v1/auth/token/renew-self":
		if own {
			answer(200, `{"request_id":"1","auth":{"client_token":"t","lease_duration":3600,"renewable":true}}`)
			return
		}
	case "/v1/sys/internal/ui/mounts", "/v1/secret/data/db":
		if good {
			answer(200, `{"request_id":"1","data":{}}`)
			return
		}
	}
	answer(403, `{"errors":["permission denied"]}`)
}

func (e *enterprise) reached() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}

func TestATokenIsLookedUpAndRenewedInItsOwnNamespace(t *testing.T) {
	for name, test := range map[string]struct {
		of, used string
		opaque   bool
		reason   string
	}{
		"of the namespace itself":          {of: "team/child", used: "team/child"},
		"of the parent":                    {of: "team", used: "team/child"},
		"of one far above":                 {of: "a", used: "/a/b/c/d/"},
		"of the root":                      {of: "", used: "team/child"},
		"of the root, where none is named": {of: "", used: ""},
		"of another one":                   {of: "other", used: "team/child", reason: v1alpha1.ReasonAuthFailed},
		"that may not look itself up":      {of: "team", used: "team/child", opaque: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			vault := &enterprise{of: test.of, opaque: test.opaque}
			server := httptest.NewServer(vault)
			defer server.Close()
			config := builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
				c.UID, c.Spec.VaultNamespace = "config", test.used
			})
			scheme := runtime.NewScheme()
			g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
			objects := fake.NewClientBuilder().WithScheme(scheme).
				WithObjects(builder.TokenSecret("shop", config.Spec.Auth.Token.SecretKeyRef.Name, "t")).Build()
			sessions, err := NewSessions(Options{Reader: objects, AllowedURLs: []string{server.URL}})
			g.Expect(err).NotTo(HaveOccurred())

			session, err := sessions.For(t.Context(), config)
			if test.reason != "" {
				g.Expect(fault.Is(err, test.reason)).To(BeTrue(), "%v", err)
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(session.Token().Opaque).To(Equal(test.opaque))
			vault.reached()
			g.Expect(session.Renew(t.Context())).To(Succeed())
			if !test.opaque {
				g.Expect(vault.reached()).To(Equal([]string{test.of + ": auth/token/renew-self"}))
				g.Expect(session.NextRenewal()).To(BeTemporally(">", time.Now()))
			}
			vault.reached()
			err = session.Do(t.Context(), func(ctx context.Context, c *Conn) error {
				_, failed := c.Call(ctx, transport.Request{Method: http.MethodGet, Path: "secret/data/db"})
				return failed
			})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(vault.reached()).To(Equal([]string{strings.Trim(test.used, "/") + ": secret/data/db"}), "all else stays where it is")
		})
	}
}

// TestATokenIsRevokedInItsOwnNamespace: the namespace that a login names is that of its token.
func TestATokenIsRevokedInItsOwnNamespace(t *testing.T) {
	g := NewWithT(t)
	vault := &enterprise{of: "team"}
	server := httptest.NewServer(vault)
	defer server.Close()
	pool := transport.NewPool(time.Second, clock.RealClock{}, nil)
	way, err := pool.Get(transport.Config{Address: server.URL})
	g.Expect(err).NotTo(HaveOccurred())
	conn := pool.NewConn(way, transport.Settings{Namespace: "team/child", Timeout: time.Minute})
	(&revocationQueue{}).revoke(revocation{conn: conn, namespace: "team", token: transport.NewToken("t")})
	(&revocationQueue{}).revoke(revocation{conn: conn, namespace: transport.RootNamespace, token: transport.NewToken("t")})
	g.Expect(vault.reached()).To(Equal([]string{"team: auth/token/revoke-self", ": auth/token/revoke-self"}))
}
