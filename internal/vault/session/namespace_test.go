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
	// health is what it says of itself; empty: nothing.
	health string

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
	case "/v1/sys/health":
		if e.health != "" {
			answer(200, e.health)
			return
		}
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

// TestANamespaceOfAVaultThatHasNone: Vault's Community edition answers from the root namespace whatever a request names.
func TestANamespaceOfAVaultThatHasNone(t *testing.T) {
	const community, openBao = `{"initialized":true,"version":"1.21.1","enterprise":false}`, `{"initialized":true,"version":"2.4.0"}`
	const ent, refused = `{"initialized":true,"version":"1.21.1+ent","enterprise":true}`,
		" is the Community edition, which has no namespaces and would answer from the root "
	userPass := func(namespace string) func(*v1alpha1.VaultConfig) {
		return func(c *v1alpha1.VaultConfig) {
			c.Spec.Auth = v1alpha1.VaultAuth{UserPass: &v1alpha1.PasswordAuth{Username: "bob", VaultNamespace: namespace,
				PasswordSecretKeyRef: c.Spec.Auth.Token.SecretKeyRef}}
		}
	}
	for name, test := range map[string]struct {
		health, named, kind, below, field, remedy string
		change                                    func(*v1alpha1.VaultConfig)
	}{
		"by the VaultConfig": {health: community, named: "team", field: `spec.vaultNamespace "team": `,
			remedy: "; leave it out, or let spec.url name a Vault that has namespaces"},
		"by a VaultTask": {health: community, named: "team", kind: fault.KindVaultTask, field: `spec.vault.vaultNamespace "team": `,
			remedy: "; leave it out, or let spec.vault.url name a Vault that has namespaces"},
		"by a Connection": {health: community, named: "team", kind: fault.KindConnection, field: `vaultNamespace "team": `,
			remedy: "; leave it out, or let url name a Vault that has namespaces"},
		"by a login": {health: community, change: userPass("team"), field: `spec.auth.userPass.vaultNamespace "team": `},
		"by a secret": {health: community, below: "team", field: `vaultNamespace "team": `,
			remedy: "; leave it out, or name the VaultConfig of a Vault that has namespaces"},
		"the root by its name":   {health: community, named: "root"},
		"none":                   {health: community},
		"of Vault Enterprise":    {health: ent, named: "team", below: "child"},
		"of OpenBao":             {health: openBao, named: "team", below: "child"},
		"where health is hidden": {named: "team", below: "child"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			vault := &enterprise{health: test.health}
			server := httptest.NewServer(vault)
			defer server.Close()
			config := builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
				c.UID, c.Spec.VaultNamespace, c.Kind = "config", test.named, test.kind
				if test.change != nil {
					test.change(c)
				}
			})
			scheme := runtime.NewScheme()
			g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
			objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(builder.TokenSecret("shop", "vault-token", "t")).Build()
			sessions, err := NewSessions(Options{Reader: objects, AllowedURLs: []string{server.URL}})
			g.Expect(err).NotTo(HaveOccurred())

			session, err := sessions.For(t.Context(), config)
			if test.below != "" {
				g.Expect(err).NotTo(HaveOccurred())
				err = session.Do(t.Context(), func(ctx context.Context, c *Conn) error { return c.In(test.below).CheckNamespace(ctx) })
			}
			if test.field == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(And(HavePrefix(test.field+"Vault at "+server.URL+refused), HaveSuffix(test.remedy))))
			f := fault.From(err)
			g.Expect([]any{f.Reason, f.Class}).To(Equal([]any{v1alpha1.ReasonInvalidSpec, fault.ClassWaiting}), "Vault may be upgraded")
			if test.below == "" {
				g.Expect(vault.reached()).To(Equal([]string{": sys/health"}), "no credential is sent")
			}
		})
	}
}

// TestATokenIsRevokedInItsOwnNamespace: the namespace that a login names is that of its token.
func TestATokenIsRevokedInItsOwnNamespace(t *testing.T) {
	g := NewWithT(t)
	vault := &enterprise{of: "team"}
	server := httptest.NewServer(vault)
	defer server.Close()
	pool := transport.NewPool(time.Second, clock.RealClock{}, nil, nil)
	way, err := pool.Get(transport.Config{Address: server.URL})
	g.Expect(err).NotTo(HaveOccurred())
	conn := pool.NewConn(way, transport.Settings{Namespace: "team/child", Timeout: time.Minute})
	(&revocationQueue{}).revoke(revocation{conn: conn, namespace: "team", token: transport.NewToken("t")})
	(&revocationQueue{}).revoke(revocation{conn: conn, namespace: transport.RootNamespace, token: transport.NewToken("t")})
	g.Expect(vault.reached()).To(Equal([]string{"team: auth/token/revoke-self", ": auth/token/revoke-self"}))
}
