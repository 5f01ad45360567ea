package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A Connection", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"user": canary(), "password": canary(), "port": 1521})
		vault.PutKV("kv/"+namespace+"/legacy", map[string]any{"password": canary()})
	})

	It("becomes Ready and shows which versions it was resolved from, and no value", func() {
		c := builder.Connection(namespace, "oracle", map[string]any{
			"host": "my-oracle-server", "user": "vault.secret(user)", "password": "vault.secret(password)",
		}, builder.WithSecret("data/"+namespace+"/oracle"))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(c.Status.Secrets).To(HaveLen(1))
		Expect(c.Status.Secrets[0].VaultConfig).To(Equal(namespace + "/main"))
		Expect(c.Status.Secrets[0].Path).To(Equal("secret/data/" + namespace + "/oracle"))
		Expect(c.Status.Secrets[0].Version).To(BeEquivalentTo(1))
		Expect(c.Status.Secrets[0].CreatedTime).NotTo(BeNil())
	})

	It("follows a new version in Vault, and writes status only then", func() {
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		before := c.ResourceVersion
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": canary()})
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			g.Expect(c.Status.Secrets[0].Version).To(BeEquivalentTo(2))
			g.Expect(c.ResourceVersion).NotTo(Equal(before))
		}).Should(Succeed())
		before = c.ResourceVersion
		Consistently(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			g.Expect(c.ResourceVersion).To(Equal(before))
		}, "7s", "1s").Should(Succeed())
	})

	DescribeTable("that cannot be resolved says what is wrong and where",
		func(reason, sentence string, value map[string]any, mutate ...func(*v1alpha1.Connection)) {
			c := builder.Connection(namespace, "broken", value, builder.WithSecret(namespace+"/oracle"), builder.All(mutate...))
			create(c)
			expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, reason,
				HavePrefix("Connection "+namespace+"/broken"), ContainSubstring(sentence))
		},
		Entry("a key that the secret lacks", v1alpha1.ReasonKeyMissing, `key "a.b[1]": no attached secret has the key "missing"`,
			map[string]any{"a": map[string]any{"b": []any{"x", "vault.secret(missing)"}}}),
		Entry("a key of two secrets", v1alpha1.ReasonAmbiguousKey, `vault.secret(one.password) or vault.secret(two.password)`,
			map[string]any{"p": "vault.secret(password)"}, func(c *v1alpha1.Connection) {
				two := builder.VaultSecret("two", c.Namespace+"/legacy")
				two.EnginePath = "kv"
				c.Spec.VaultSecrets = []v1alpha1.VaultSecret{builder.VaultSecret("one", c.Namespace+"/oracle"), two}
			}),
		Entry("a path with nothing there", v1alpha1.ReasonSecretNotFound, `key "p": GET secret/data/`,
			map[string]any{"p": "vault.secret(password)"}, func(c *v1alpha1.Connection) {
				c.Spec.VaultSecrets[0].SecretPath = c.Namespace + "/nothing"
			}),
		Entry("a syntax error", v1alpha1.ReasonInvalidExpression, `key "p"`, map[string]any{"p": "x vault.secret(password"}),
		Entry("a secret that is not attached", v1alpha1.ReasonInvalidExpression, `key "p": vault.secret(other.password) names the secret "other"`,
			map[string]any{"p": "vault.secret(other.password)"}),
		Entry("nothing attached", v1alpha1.ReasonInvalidExpression, "vault.secret(CONFIG:PATH.password)",
			map[string]any{"p": "vault.secret(password)"}, func(c *v1alpha1.Connection) { c.Spec.VaultSecrets = nil }),
		Entry("a VaultConfig that does not exist", v1alpha1.ReasonConfigNotFound, `key "p": VaultConfig`,
			map[string]any{"p": "vault.secret(password)"}, func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Name = "none" }),
		Entry("a VaultConfig of another namespace", v1alpha1.ReasonNamespaceNotAllowed, "VaultConfig "+env.Namespace+"/main does not exist, or may not be used from namespace",
			map[string]any{"p": "vault.secret(password)"}, func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].VaultConfigRef.Namespace = env.Namespace }),
		Entry("an engine that does not exist", v1alpha1.ReasonPermissionDenied, "nowhere",
			map[string]any{"p": "vault.secret(password)"}, func(c *v1alpha1.Connection) { c.Spec.VaultSecrets[0].EnginePath = "nowhere" }),
		Entry("Vault's own paths, which would show the VaultConfig's token", v1alpha1.ReasonPermissionDenied, `"auth" may be Vault's own`,
			map[string]any{"p": "vault.secret(id)"}, func(c *v1alpha1.Connection) {
				c.Spec.VaultSecrets[0].EnginePath, c.Spec.VaultSecrets[0].SecretPath = "auth", "token/lookup-self"
			}),
		Entry("Vault's own paths, called an engine of KV version 1", v1alpha1.ReasonInvalidRequest, "no secrets engine is mounted at auth/token",
			map[string]any{"p": "vault.secret(id)"}, func(c *v1alpha1.Connection) {
				c.Spec.VaultSecrets[0].EnginePath, c.Spec.VaultSecrets[0].SecretPath = "auth/token", "lookup-self"
				c.Spec.VaultSecrets[0].KVVersion = v1alpha1.KVVersion1
			}),
		Entry("a key that is no file name", v1alpha1.ReasonInvalidFileName, `"a/b"`, map[string]any{"a/b": "x"}),
		Entry("a key that collides with the file type", v1alpha1.ReasonInvalidSpec, "type", map[string]any{"type": "other"}),
	)

	It("is refused while its VaultConfig is disabled, and recovers at once when it is enabled", func() {
		c := builder.Connection(namespace, "oracle", map[string]any{"p": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		no := false
		config := vault.Config(namespace, "main")
		update(config, func(v *v1alpha1.VaultConfig) { v.Spec.Enabled = &no })
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConfigDisabled)
		expectEvent(c, "Warning", v1alpha1.ReasonConfigDisabled)
		update(config, func(v *v1alpha1.VaultConfig) { v.Spec.Enabled = nil })
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("is looked at now when somebody asks for that", func() {
		path := namespace + "/asked"
		vault.PutKV("secret/data/"+path, map[string]any{"password": "first"})
		c := builder.Connection(namespace, "asked", map[string]any{"p": "vault.secret(password)"}, builder.WithSecret(path),
			func(c *v1alpha1.Connection) { c.Spec.RefreshInterval = &metav1.Duration{Duration: time.Hour} })
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		version := func() int64 {
			Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(c), c)).To(Succeed())
			return c.Status.Secrets[0].Version
		}
		Expect(version()).To(BeEquivalentTo(1))
		vault.PutKV("secret/data/"+path, map[string]any{"password": "second"})
		Consistently(version, "2s").Should(BeEquivalentTo(1))
		update(c, func(c *v1alpha1.Connection) { c.Annotations = map[string]string{v1alpha1.AnnotationRefresh: "1"} })
		Eventually(version).Should(BeEquivalentTo(2))
	})

	It("says so when the policy lacks the right, and which one", func() {
		other := newNamespace()
		vault.Policy("elsewhere", `path "secret/data/elsewhere" { capabilities = ["read"] }`)
		tokenSecret(other, env.TokenOptions{Policies: []string{"elsewhere"}})
		create(vault.Config(other, "main"))
		c := builder.Connection(other, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPermissionDenied,
			Equal(`Connection `+other+`/oracle, key "password": GET secret/data/`+namespace+`/oracle → 403 permission denied (VaultConfig `+other+
				`/main, auth token); its policy needs "read" on secret/data/`+namespace+`/oracle`))
	})

	It("says so when the token is revoked", func() {
		other := newNamespace()
		token := tokenSecret(other, env.TokenOptions{Policies: []string{"all-secrets"}})
		create(vault.Config(other, "main"))
		c := builder.Connection(other, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		vault.Revoke(token)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)
	})
})

var _ = Describe("A Connection, when Vault fails", Serial, func() {
	It("says that Vault is sealed, and is Ready again by itself", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"password": canary()})
		c := builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh)
		config := vault.Config(namespace, "main")
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

		vault.Seal()
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultSealed)
		Eventually(func(g Gomega) { // seen at the next look at Vault's health
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
			g.Expect(config.Status.Vault).To(HaveValue(HaveField("Sealed", true)))
		}, "90s").Should(Succeed())
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultSealed)
		expectEvent(config, "Warning", v1alpha1.ReasonVaultSealed)
		vault.Unseal()
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(config, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

		By("stopping Vault altogether")
		vault.Stop()
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultUnreachable, ContainSubstring("connection refused"))
		vault.Start()
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
})
