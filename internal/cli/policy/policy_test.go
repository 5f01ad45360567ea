package policy

import (
	"context"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/vault/secrets"
	"sallyport.dev/sallyport/test/builder"
)

// rulesOf makes the policy of the VaultConfig shop/main, without what the session needs.
func rulesOf(t *testing.T, objects *Objects) (rules map[string]string, made Policy) {
	t.Helper()
	policies, err := Make(context.Background(), objects, nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(policies).NotTo(BeEmpty())
	rules = map[string]string{}
	for _, rule := range policies[0].Rules {
		if !rule.Default {
			rules[rule.Path] = strings.Join(rule.Capabilities, ",")
		}
	}
	return rules, policies[0]
}

func oracle(namespace, path string) v1alpha1.Connection {
	return *builder.Connection(namespace, "oracle", map[string]any{"u": "vault.secret(u)"}, builder.WithSecret(path))
}

func TestNamespacesOfVault(t *testing.T) {
	for name, test := range map[string]struct {
		login, requests string
		policy, path    string
		problem         bool
	}{
		"one":           {requests: "team/a", policy: "team/a", path: "secret/data/oracle"},
		"a login above": {login: "team", requests: "team/a", policy: "team", path: "a/secret/data/oracle"},
		"a login at the top": {
			login: "root", requests: "team/a", path: "team/a/secret/data/oracle",
		},
		"a login elsewhere": {login: "other", requests: "team/a", policy: "other", path: "secret/data/oracle", problem: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			config := builder.VaultConfig("shop", builder.ConfigName, func(c *v1alpha1.VaultConfig) {
				c.Spec.VaultNamespace = test.requests
				c.Spec.Auth = v1alpha1.VaultAuth{Cert: &v1alpha1.CertAuth{VaultNamespace: test.login}}
			})
			rules, made := rulesOf(t, &Objects{
				Configs: []v1alpha1.VaultConfig{*config}, Connections: []v1alpha1.Connection{oracle("shop", "oracle")},
			})
			g.Expect(rules).To(Equal(map[string]string{test.path: "read"}))
			g.Expect(made.VaultNamespace).To(Equal(test.policy))
			g.Expect(made.Problems).To(HaveLen(map[bool]int{true: 1}[test.problem]))
			g.Expect(made.Rules).To(ContainElement(HaveField("Path", "auth/token/renew-self")), "it is where the token is")
		})
	}
}

// TestASecretOfANamespaceBelow: what the policy of the login's namespace has of it.
func TestASecretOfANamespaceBelow(t *testing.T) {
	g := NewWithT(t)
	config := builder.VaultConfig("shop", builder.ConfigName, func(c *v1alpha1.VaultConfig) {
		c.Spec.VaultNamespace = "team/a"
		c.Spec.Auth = v1alpha1.VaultAuth{Cert: &v1alpha1.CertAuth{VaultNamespace: "team"}}
	})
	connection := oracle("shop", "oracle")
	connection.Spec.VaultSecrets[0].VaultNamespace = "team/a/b"
	var asked []secrets.Location
	ask := func(_ context.Context, _ *v1alpha1.VaultConfig, engine secrets.Location) (v1alpha1.KVVersion, error) {
		asked = append(asked, engine)
		return v1alpha1.KVVersion2, nil
	}
	made, err := Make(t.Context(), &Objects{
		Configs: []v1alpha1.VaultConfig{*config}, Connections: []v1alpha1.Connection{connection},
	}, ask)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(made).To(HaveLen(1))
	g.Expect(made[0].Problems).To(BeEmpty())
	g.Expect(made[0].Rules).To(ContainElement(HaveField("Path", "a/b/secret/data/oracle")))
	g.Expect(asked).To(ConsistOf(secrets.Location{Below: "b", EnginePath: "secret"}))

	// Vault leads what is asked of a lease to the lease's namespace, where "default" of the login's says nothing.
	connection.Spec.VaultSecrets[0].EnginePath, connection.Spec.VaultSecrets[0].SecretPath = "database", "creds/app"
	connection.Spec.VaultSecrets[0].KVVersion = ""
	made, err = Make(t.Context(), &Objects{
		Configs: []v1alpha1.VaultConfig{*config}, Connections: []v1alpha1.Connection{connection},
	}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	for _, operation := range []string{"renew", "lookup", "revoke"} {
		g.Expect(made[0].Rules).To(ContainElement(And(HaveField("Path", "a/b/sys/leases/"+operation), HaveField("Default", false))))
		g.Expect(made[0].Rules).NotTo(ContainElement(HaveField("Path", "a/sys/leases/"+operation)))
	}
	connection.Spec.VaultSecrets[0].VaultNamespace = "team/a/+"
	rules, refused := rulesOf(t, &Objects{
		Configs: []v1alpha1.VaultConfig{*config}, Connections: []v1alpha1.Connection{connection},
	})
	g.Expect(rules).To(BeEmpty(), "a pattern of somebody who writes a Connection gets into no policy")
	g.Expect(refused.Problems).NotTo(BeEmpty())

	connection.Spec.VaultSecrets[0].VaultNamespace = "other"
	rules, refused = rulesOf(t, &Objects{
		Configs: []v1alpha1.VaultConfig{*config}, Connections: []v1alpha1.Connection{connection},
	})
	g.Expect(rules).To(BeEmpty())
	g.Expect(refused.Problems).To(ConsistOf(ContainSubstring(`vaultNamespace "other" is not in the namespace of VaultConfig`)))
}

// Whoever writes a Connection must not get more by a policy than the path that it names.
func TestPatternsAreRefused(t *testing.T) {
	for _, path := range []string{"*", "team*", "+/x", "a/+/b", "{{identity.entity.name}}"} {
		g := NewWithT(t)
		rules, made := rulesOf(t, &Objects{
			Configs:     []v1alpha1.VaultConfig{*builder.VaultConfig("shop", builder.ConfigName)},
			Connections: []v1alpha1.Connection{oracle("shop", path)},
		})
		g.Expect(rules).To(BeEmpty(), path)
		g.Expect(made.Problems).To(ConsistOf(ContainSubstring("would be read as a pattern")), path)
	}
	g := NewWithT(t)
	rules, made := rulesOf(t, &Objects{
		Configs:     []v1alpha1.VaultConfig{*builder.VaultConfig("shop", builder.ConfigName)},
		Connections: []v1alpha1.Connection{oracle("shop", "a\" { capabilities = [\"sudo\"] }\npath \"b")},
	})
	g.Expect(rules).To(BeEmpty())
	var hcl strings.Builder
	made.WriteHCL(&hcl)
	for line := range strings.Lines(hcl.String()) {
		g.Expect(line).To(Or(HavePrefix("#"), HavePrefix(`path "auth/token/`), Equal("\n")))
	}
}

func TestOnlyWhatIsAllowedElsewhere(t *testing.T) {
	g := NewWithT(t)
	config := builder.VaultConfig("platform", builder.ConfigName, func(c *v1alpha1.VaultConfig) {
		c.Spec.AllowedNamespaces = []v1alpha1.NamespaceGrant{{
			Selector:     &v1alpha1.NamespaceSelector{MatchLabels: map[string]string{"tier": "web"}},
			PathPrefixes: []v1alpha1.PathPrefix{"secret/{{namespace}}"},
		}}
	})
	shared := func(namespace, path string) v1alpha1.Connection {
		c := oracle(namespace, path)
		c.Spec.VaultSecrets[0].VaultConfigRef.Namespace = "platform"
		return c
	}
	rules, made := rulesOf(t, &Objects{
		Configs: []v1alpha1.VaultConfig{*config},
		Connections: []v1alpha1.Connection{
			shared("shop", "shop/db"), shared("shop", "other/db"), shared("billing", "billing/db"),
		},
		Labels: map[string]map[string]string{"shop": {"tier": "web"}, "billing": {}},
	})
	g.Expect(rules).To(Equal(map[string]string{"secret/data/shop/db": "read"}))
	g.Expect(made.Problems).To(HaveLen(2))
}

func TestWhatLiesAtAnEngine(t *testing.T) {
	config := builder.VaultConfig("shop", builder.ConfigName)
	for name, test := range map[string]struct {
		change func(*v1alpha1.Connection)
		path   string
		noted  bool
	}{
		"it is stated":     {func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].KVVersion = v1alpha1.KVVersion1 }, "secret/oracle", false},
		"it is spelled":    {func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].SecretPath = "data/oracle" }, "secret/data/oracle", false},
		"it is dynamic":    {func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].SecretPath = "creds/oracle" }, "secret/creds/oracle", false},
		"status tells 2":   {func(c *v1alpha1.Connection) { c.Status.Secrets = seen("secret/data/oracle") }, "secret/data/oracle", false},
		"status tells 1":   {func(c *v1alpha1.Connection) { c.Status.Secrets = seen("secret/oracle") }, "secret/oracle", false},
		"nobody says it":   {func(*v1alpha1.Connection) {}, "secret/data/oracle", true},
		"another's status": {func(c *v1alpha1.Connection) { c.Status.Secrets = seen("secret/other") }, "secret/data/oracle", true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			connection := oracle("shop", "oracle")
			test.change(&connection)
			rules, made := rulesOf(t, &Objects{Configs: []v1alpha1.VaultConfig{*config}, Connections: []v1alpha1.Connection{connection}})
			delete(rules, "sys/leases/revoke")
			g.Expect(rules).To(Equal(map[string]string{test.path: "read"}))
			noted := len(made.Notes) > 0
			g.Expect(noted).To(Equal(test.noted), "%v", made.Notes)
		})
	}
}

func seen(path string) []v1alpha1.ObservedSecret {
	return []v1alpha1.ObservedSecret{{VaultConfig: "shop/main", Path: path}}
}

func TestIdentitiesThatTasksBring(t *testing.T) {
	g := NewWithT(t)
	admin := builder.Connection("shop", "admin", map[string]any{
		"url": "https://vault", "username": "vault.secret(main:users.name)", "password": "vault.secret(main:users.password)",
		"enginePath": "kv", "secretPath": "data/report",
	}, builder.WithType("VAULT"))
	byConnection := builder.VaultTask("shop", "by-connection", v1alpha1.OperationRead, "", func(t *v1alpha1.VaultTask) {
		t.Spec.VaultConfigRef, t.Spec.ConnectionRef = nil, &v1alpha1.ConnectionReference{Name: "admin"}
	})
	inline := builder.VaultTask("shop", "inline", v1alpha1.OperationGenericWrite, "sys/rotate", func(t *v1alpha1.VaultTask) {
		t.Spec.VaultConfigRef, t.Spec.Vault = nil, &v1alpha1.InlineVault{URL: "https://other", Auth: builder.TokenAuth("t")}
	})
	policies, err := Make(context.Background(), &Objects{
		Configs:     []v1alpha1.VaultConfig{*builder.VaultConfig("shop", builder.ConfigName)},
		Connections: []v1alpha1.Connection{*admin}, Tasks: []v1alpha1.VaultTask{*byConnection, *inline},
	}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	paths := map[string][]string{}
	for _, p := range policies {
		g.Expect(p.Problems).To(BeEmpty())
		for _, rule := range p.Rules {
			paths[p.For] = append(paths[p.For], rule.Path)
		}
	}
	g.Expect(paths).To(Equal(map[string][]string{
		"Connection shop/admin": {"kv/data/report", "auth/token/renew-self", "auth/token/revoke-self"},
		"VaultConfig shop/main": {"secret/data/users", "auth/token/lookup-self", "auth/token/renew-self"},
		"VaultTask shop/inline": {"sys/rotate", "auth/token/lookup-self", "auth/token/renew-self"},
	}))
}

// The comparison tells a right from one that is wider, and knows what everybody has.
func TestCompare(t *testing.T) {
	g := NewWithT(t)
	p := &Policy{Rules: []Rule{{Path: "secret/data/a", Capabilities: []string{read, update}}, {Path: "auth/token/renew-self", Capabilities: []string{update}}}}
	held := &Held{
		At:      map[string][]string{"secret/data/a": {read, remove}, "auth/token/renew-self": {update}},
		Granted: map[string][]string{"secret/data/*": {read}, "cubbyhole/*": {read}, "sys/mounts": {"deny"}, "auth/token/create": {update}},
	}
	d := p.Compare(held)
	g.Expect(d.Missing).To(HaveExactElements(Rule{Path: "secret/data/a", Capabilities: []string{update}}))
	g.Expect(d.TooMuch).To(HaveExactElements(
		And(HaveField("Path", "auth/token/create"), HaveField("Capabilities", []string{update})),
		And(HaveField("Path", "secret/data/*"), HaveField("Capabilities", []string{read})),
		And(HaveField("Path", "secret/data/a"), HaveField("Capabilities", []string{remove})),
	))
	held.Granted = nil
	d = p.Compare(held)
	g.Expect(d.Partial).To(BeTrue())
}
