package resolver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/internal/vault/session"
	"sallyport.dev/sallyport/test/builder"
)

// namespacedVault answers as Vault Enterprise documents it of namespaces, which the community's program does not have. In
// team, the engine kv is of version 1, in team/child of version 2, and each has a secret db and makes credentials.
type namespacedVault struct {
	// health is what it says of itself; empty: nothing.
	health string
	mu     sync.Mutex
	// seen are the requests with their namespaces, other than those of the session itself.
	seen []string
}

func (v *namespacedVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	in, path := r.Header.Get("X-Vault-Namespace"), strings.TrimPrefix(r.URL.Path, "/v1/")
	if path == "auth/token/lookup-self" {
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"ttl":3600,"renewable":true,"policies":["p"],"type":"service"}}`)
		return
	}
	if path == "sys/health" && v.health != "" {
		_, _ = fmt.Fprint(w, v.health)
		return
	}
	v.mu.Lock()
	v.seen = append(v.seen, in+": "+path)
	v.mu.Unlock()
	switch in + ": " + path {
	case "team: sys/internal/ui/mounts/kv":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"kv/","type":"kv","options":{"version":"1"}}}`)
	case "team/child: sys/internal/ui/mounts/kv":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"kv/","type":"kv","options":{"version":"2"}}}`)
	case "team: sys/internal/ui/mounts/database", "team/child: sys/internal/ui/mounts/database":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"database/","type":"database"}}`)
	case ": sys/internal/ui/mounts/kv", "root: sys/internal/ui/mounts/kv":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"path":"kv/","type":"kv","options":{"version":"1"}}}`)
	case "team: kv/db":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"password":"of team"}}`)
	case "team/child: kv/data/db":
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"data":{"password":"of child"},"metadata":{"version":7}}}`)
	case "team: database/creds/app", "team/child: database/creds/app":
		_, _ = fmt.Fprintf(w, `{"request_id":"r","lease_id":"database/creds/app/%s","lease_duration":60,"data":{"password":"%[1]s"}}`, in)
	case "team/child: sys/leases/renew", "team/child: sys/leases/revoke", "team/child: sys/leases/lookup", "team: sys/leases/revoke":
		_, _ = fmt.Fprint(w, `{"request_id":"r","lease_duration":60,"data":{"ttl":60}}`)
	case "team: sys/capabilities-self": // which the policy "default" allows in the token's own namespace
		_, _ = fmt.Fprint(w, `{"request_id":"r","data":{"child/database/creds/app":["deny"],"database/creds/app":["read"]}}`)
	default:
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, `{"errors":["permission denied"]}`)
	}
}

func (v *namespacedVault) reached() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := v.seen
	v.seen = nil
	return seen
}

// engineIn is an engine for the VaultConfig "main" of namespace shop, which is in the namespace "team" of Vault.
func engineIn(t *testing.T, vault http.Handler, changes ...func(*v1alpha1.VaultConfig)) *Engine {
	t.Helper()
	g := NewWithT(t)
	server := httptest.NewServer(vault)
	t.Cleanup(server.Close)
	scheme := apiruntime.NewScheme()
	g.Expect(corev1.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	config := builder.VaultConfig("shop", "main", builder.WithURL(server.URL), func(c *v1alpha1.VaultConfig) {
		c.UID, c.Spec.VaultNamespace, c.Spec.EnginePath = "config", "team", "kv"
	}, builder.All(changes...))
	token := builder.TokenSecret("shop", config.Spec.Auth.Token.SecretKeyRef.Name, "token")
	objects := fake.NewClientBuilder().WithScheme(scheme).WithObjects(config, token).Build()
	sessions, err := session.NewSessions(session.Options{Reader: objects, AllowedURLs: []string{server.URL}})
	g.Expect(err).NotTo(HaveOccurred())
	return NewEngine(objects, sessions, clock.RealClock{})
}

// inNamespace is a secret of a namespace of Vault.
func inNamespace(name, vaultNamespace, path string) v1alpha1.VaultSecret {
	secret := builder.VaultSecret(name, path)
	secret.VaultConfigRef.Name, secret.VaultNamespace = "main", vaultNamespace
	return secret
}

func contents(resolved *Resolved) map[string]string {
	files := map[string]string{}
	for _, file := range resolved.Files {
		files[file.Path] = string(file.Content)
	}
	delete(files, "type")
	return files
}

func TestASecretOfANamespaceBelow(t *testing.T) {
	g := NewWithT(t)
	vault := &namespacedVault{}
	e := engineIn(t, vault)
	connection := builder.Connection("shop", "db", map[string]any{"above": "vault.secret(a.password)", "below": "vault.secret(b.password)", "same": "vault.secret(c.password)"},
		builder.WithSecrets(inNamespace("a", "", "db"), inNamespace("b", "team/child", "db"), inNamespace("c", "team/", "db")))
	done := e.Begin()
	defer done()
	for range 2 { // what was read in one namespace is not what is there in the other
		resolved, err := e.Resolve(t.Context(), connection, Volume{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(contents(resolved)).To(Equal(map[string]string{"above": "of team", "below": "of child", "same": "of team"}))
		g.Expect(resolved.Versions).To(Equal(map[string]int64{"child/kv/data/db": 7}))
		var observed []string
		for _, secret := range resolved.Secrets {
			observed = append(observed, secret.Path)
		}
		g.Expect(observed).To(ContainElements("child/kv/data/db", "kv/db"))
		g.Expect(resolved.ChangeKeys).To(ContainElement(e.changes.keyOf(Place(configURL(t, e), "team/child", "kv/data/db"))),
			"whoever writes it there tells of it under that name")
	}
	g.Expect(vault.reached()).To(ContainElements("team: kv/db", "team/child: kv/data/db"))
}

func TestALeaseOfANamespaceBelowIsAnotherThanThatAbove(t *testing.T) {
	g := NewWithT(t)
	vault := &namespacedVault{}
	e := engineIn(t, vault)
	above, below := inNamespace("a", "", "creds/app"), inNamespace("b", "team/child", "creds/app")
	above.EnginePath, below.EnginePath = "database", "database"
	resolved, err := e.Resolve(t.Context(), builder.Connection("shop", "db",
		map[string]any{"above": "vault.secret(a.password)", "below": "vault.secret(b.password)"}, builder.WithSecrets(above, below)), Volume{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(resolved)).To(Equal(map[string]string{"above": "team", "below": "team/child"}))
	g.Expect(resolved.SecretKeys).To(HaveLen(2))
	g.Expect(resolved.SecretKeys[0]).NotTo(Equal(resolved.SecretKeys[1]))
	g.Expect(resolved.Dynamic).To(BeNil())

	// Vault leads requests for a lease to the lease's namespace by its ID, and looks for a policy there. So they go there.
	g.Expect(resolved.Issued).To(HaveLen(2))
	vault.reached()
	for _, issued := range resolved.Issued {
		s, err := e.sessions.For(t.Context(), issued.Config)
		g.Expect(err).NotTo(HaveOccurred())
		id := issued.Issued.Lease.ID
		g.Expect(secrets.RevokeLease(t.Context(), s, id)).To(Succeed())
		if id.Below() == "" {
			_, err = secrets.LookUpLease(t.Context(), s, id)
			g.Expect(err).To(MatchError(ContainSubstring("POST sys/leases/lookup → 403")))
			continue
		}
		_, err = secrets.RenewLease(t.Context(), s, id, time.Minute)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = secrets.LookUpLease(t.Context(), s, id)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(vault.reached()).To(ContainElements("team: sys/leases/revoke", "team/child: sys/leases/revoke",
		"team/child: sys/leases/renew", "team/child: sys/leases/lookup"))
}

func TestWhetherADynamicSecretOfANamespaceBelowWouldBeIssued(t *testing.T) {
	g := NewWithT(t)
	e := engineIn(t, &namespacedVault{})
	below := inNamespace("b", "team/child", "creds/app")
	below.EnginePath = "database"
	_, err := e.Check(t.Context(), builder.Connection("shop", "db", map[string]any{"a": "vault.secret(b.password)"}, builder.WithSecrets(below)), "")
	g.Expect(fault.Is(err, v1alpha1.ReasonPermissionDenied)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(ContainSubstring(`its policy needs "read" on child/database/creds/app`)))
}

func TestANamespaceBelowTheRootByItsName(t *testing.T) {
	g := NewWithT(t)
	vault := &namespacedVault{}
	e := engineIn(t, vault, func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "root" })
	resolved, err := e.Resolve(t.Context(), builder.Connection("shop", "db", map[string]any{"a": "vault.secret(a.password)"},
		builder.WithSecrets(inNamespace("a", "team/child", "db"))), Volume{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(contents(resolved)).To(Equal(map[string]string{"a": "of child"}))
}

// Vault puts namespace and path together: X-Vault-Namespace: team/auth with token/lookup-self is team's auth/token/lookup-self,
// whose answer holds the VaultConfig's token.
func TestNoNamespaceLeadsToVaultsOwnPaths(t *testing.T) {
	for namespace, path := range map[string][2]string{
		"team/auth": {"token", "lookup-self"}, "team/child/auth": {"token", "lookup-self"}, "team/sys": {"policies", "acl/admin"},
		"team/identity": {"entity", "id/x"}, "team/cubbyhole": {"a", "b"},
	} {
		g := NewWithT(t)
		vault := &namespacedVault{}
		secret := inNamespace("a", namespace, path[1])
		secret.EnginePath, secret.KVVersion = path[0], v1alpha1.KVVersion1
		_, err := engineIn(t, vault).Resolve(t.Context(), builder.Connection("shop", "db", map[string]any{"a": "vault.secret(a.id)"},
			builder.WithSecrets(secret)), Volume{})
		g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue(), "%s: %v", namespace, err)
		g.Expect(vault.reached()).To(BeEmpty(), namespace)
	}
}

func TestWhatADeniedSecretOfANamespaceBelowIsCalled(t *testing.T) {
	g := NewWithT(t)
	e := engineIn(t, &namespacedVault{})
	_, err := e.Resolve(t.Context(), builder.Connection("shop", "db", map[string]any{"a": "vault.secret(a.password)"},
		builder.WithSecrets(inNamespace("a", "team/child", "other"))), Volume{})
	g.Expect(fault.Is(err, v1alpha1.ReasonPermissionDenied)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(And(ContainSubstring("GET child/kv/data/other → 403"), ContainSubstring(`its policy needs "read" on child/kv/data/other`))))
}

func TestOthersHaveOfANamespaceBelowWhatIsGrantedThere(t *testing.T) {
	g := NewWithT(t)
	vault := &namespacedVault{}
	grant := func(prefix v1alpha1.PathPrefix) func(*v1alpha1.VaultConfig) {
		return func(c *v1alpha1.VaultConfig) {
			c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{Names: []v1alpha1.NamespaceName{"other"}, PathPrefixes: []v1alpha1.PathPrefix{prefix}}}
		}
	}
	secret := inNamespace("a", "team/child", "db")
	secret.VaultConfigRef.Namespace = "shop"
	connection := builder.Connection("other", "db", map[string]any{"a": "vault.secret(a.password)"}, builder.WithSecrets(secret))
	for prefix, allowed := range map[v1alpha1.PathPrefix]bool{
		"kv": false, "kv/db": false, "child": true, "child/kv": true, "child/kv/db": true, "child/kv/data/db": true, "child/kv/metadata": false,
	} {
		_, err := engineIn(t, vault, grant(prefix)).Resolve(t.Context(), connection, Volume{})
		if allowed {
			g.Expect(err).NotTo(HaveOccurred(), string(prefix))
			continue
		}
		g.Expect(fault.Is(err, v1alpha1.ReasonNamespaceNotAllowed)).To(BeTrue(), "%s: %v", prefix, err)
		g.Expect(err).To(MatchError(ContainSubstring("may not be used from namespace other for child/kv/data/db")))
	}
}

// TestASecretOfANamespaceThatVaultDoesNotHave: it would be read from the root.
func TestASecretOfANamespaceThatVaultDoesNotHave(t *testing.T) {
	g := NewWithT(t)
	vault := &namespacedVault{health: `{"initialized":true,"version":"1.21.1","enterprise":false}`}
	e := engineIn(t, vault, func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = "" })
	for name, resolve := range map[string]func(*v1alpha1.Connection) error{
		"mounted": func(c *v1alpha1.Connection) error { _, err := e.Resolve(t.Context(), c, Volume{}); return err },
		"checked": func(c *v1alpha1.Connection) error { _, err := e.Check(t.Context(), c, ""); return err },
	} {
		err := resolve(builder.Connection("shop", "db", map[string]any{"a": "vault.secret(a.password)"},
			builder.WithSecrets(inNamespace("a", "team/child", "db"))))
		g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(err).To(MatchError(And(ContainSubstring(`vaultNamespace "team/child": Vault at `), ContainSubstring("has no namespaces"),
			HaveSuffix("leave it out, or name the VaultConfig of a Vault that has namespaces"))))
	}
	g.Expect(vault.reached()).To(BeEmpty())
	_, err := e.Resolve(t.Context(), builder.Connection("shop", "db", map[string]any{"a": "vault.secret(a.password)"},
		builder.WithSecrets(inNamespace("a", "root", "db"))), Volume{})
	g.Expect(err).To(HaveOccurred(), "there is no such secret in the root")
	g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeFalse(), "%v", err)
}

func TestWayBelow(t *testing.T) {
	refused := func(wanted, own string) string {
		return fmt.Sprintf("vaultNamespace %q is not in the namespace of VaultConfig shop/main, %q; "+
			"write the whole name of one below it, or use the VaultConfig of another namespace of Vault", wanted, own)
	}
	ownWord := func(named, word string) string {
		return fmt.Sprintf("vaultNamespace %q: %q is Vault's own, and no namespace has that name; write the name of a namespace", named, word)
	}
	for name, test := range map[string]struct{ own, named, below, sentence string }{
		"none":                         {own: "team"},
		"the same":                     {own: "team/a", named: "team/a/"},
		"below":                        {own: "team/", named: "team/a/b", below: "a/b"},
		"below the root":               {named: "team/a", below: "team/a"},
		"below the root by its name":   {own: "root", named: "team", below: "team"},
		"the root":                     {named: "root"},
		"above":                        {own: "team/a", named: "team", sentence: refused("team", "team/a")},
		"the root from one":            {own: "team", named: "root", sentence: refused("root", "team")},
		"beside":                       {own: "team", named: "other/team", sentence: refused("other/team", "team")},
		"one that begins as it":        {own: "team", named: "team2/a", sentence: refused("team2/a", "team")},
		"one that leads out":           {own: "team", named: "team/../other", sentence: `vaultNamespace "team/../other": holds ".."; write the path itself`},
		"one where Vault's own is":     {own: "team", named: "team/auth", sentence: ownWord("team/auth", "auth")},
		"one below such a name":        {own: "team", named: "team/a/sys/b", sentence: ownWord("team/a/sys/b", "sys")},
		"the same below the root":      {named: "identity/", sentence: ownWord("identity/", "identity")},
		"one with a line break in it":  {own: "team", named: "team/a\nb", sentence: `vaultNamespace "team/a\nb": holds a character that cannot be printed; leave it out`},
		"one of slashes, below nobody": {own: "team", named: "/", sentence: `vaultNamespace "/": names nothing; give a path such as team/oracle`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := builder.VaultConfig("shop", "main", func(c *v1alpha1.VaultConfig) { c.Spec.VaultNamespace = test.own })
			below, err := WayBelow(config, test.named)
			g.Expect(below).To(Equal(test.below))
			if test.sentence == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(test.sentence))
				g.Expect(fault.Is(err, v1alpha1.ReasonInvalidSpec)).To(BeTrue())
			}
		})
	}
}
