package integration

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// What only an edit of one object can cure ends that object's work. Those that use it are stalled, too, and go on by
// themselves when it is corrected.
var _ = Describe("What is wrong with a VaultConfig is waited for by what uses it", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}})
	})

	expectStalled := func(object client.Object, reason, sentence string) {
		GinkgoHelper()
		expectCondition(object, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, ContainSubstring(sentence))
		expectCondition(object, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, ContainSubstring(sentence))
		for _, absent := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionFailed} {
			Expect(meta.FindStatusCondition(env.Conditions(object), absent)).To(BeNil())
		}
	}

	DescribeTable("and goes on when it is corrected",
		func(reason, sentence string, spoil func(*v1alpha1.VaultConfig)) {
			vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"user": "scott"})
			config := vault.Config(namespace, "main", spoil)
			connection := builder.Connection(namespace, "db", map[string]any{"user": "vault.secret(user)"},
				builder.WithSecret(namespace+"/db"))
			write := builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, namespace+"/written",
				builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))
			read := builder.VaultTask(namespace, "read", v1alpha1.OperationRead, namespace+"/db")
			create(config, connection, write, read)
			expectCondition(config, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, ContainSubstring(sentence))
			for _, user := range []client.Object{connection, write, read} {
				expectStalled(user, reason, sentence)
			}

			update(config, func(c *v1alpha1.VaultConfig) { c.Spec = vault.Config(namespace, "main").Spec })
			expectCondition(connection, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			for _, task := range []client.Object{write, read} {
				expectCondition(task, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			}
		},
		Entry("a CA that is no PEM", v1alpha1.ReasonInvalidSpec, "spec.caCertificate",
			func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "garbage" }),
		Entry("a CA of somebody else", v1alpha1.ReasonTLSFailed, "",
			func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = string(cp.Config.CAData) }),
		Entry("a URL with dots in its path", v1alpha1.ReasonInvalidSpec, "spec.url",
			func(c *v1alpha1.VaultConfig) { c.Spec.URL += "/a/../b" }),
	)

	It("also where a reference of the data names it", func() {
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"user": "scott"})
		other := vault.Config(namespace, "other", func(c *v1alpha1.VaultConfig) { c.Spec.CACertificate = "garbage" })
		task := builder.VaultTask(namespace, "copy", v1alpha1.OperationWrite, namespace+"/copy",
			builder.WithData(map[string]v1alpha1.TaskValue{
				"user": v1alpha1.TaskValue("vault.secret(other:" + namespace + "/db.user)"),
			}))
		create(vault.Config(namespace, "main"), other, task)
		expectStalled(task, v1alpha1.ReasonInvalidSpec, "spec.caCertificate")
		update(other, func(c *v1alpha1.VaultConfig) { c.Spec = vault.Config(namespace, "other").Spec })
		expectCondition(task, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("as is what is wrong with a Connection of type VAULT", func() {
		token := vault.Token(env.TokenOptions{Policies: []string{"all-secrets"}})
		remember(token)
		vault.PutKV("secret/data/"+namespace+"/vault", map[string]any{"token": token})
		create(vault.Config(namespace, "main"))
		value := map[string]any{
			"url": vault.URL(), "caCertificate": "garbage", "enginePath": "secret",
			"token": "vault.secret(main:" + namespace + "/vault.token)", "note": "vault.secret(",
		}
		connection := builder.Connection(namespace, "vault", value, builder.WithType("VAULT"))
		task := builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, namespace+"/written",
			builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}), func(t *v1alpha1.VaultTask) {
				t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: "vault"}}
			})
		create(connection, task)
		expectStalled(task, v1alpha1.ReasonInvalidExpression, `"note"`)
		delete(value, "note")
		update(connection, func(c *v1alpha1.Connection) { c.Spec.Value = builder.JSON(value) })
		expectStalled(task, v1alpha1.ReasonInvalidSpec, "caCertificate")
		value["caCertificate"] = vault.CACertificate()
		delete(value, "enginePath")
		update(connection, func(c *v1alpha1.Connection) { c.Spec.Value = builder.JSON(value) })
		expectStalled(task, v1alpha1.ReasonInvalidSpec, "no engine is named")
		value["enginePath"] = "secret"
		update(connection, func(c *v1alpha1.Connection) { c.Spec.Value = builder.JSON(value) })
		expectCondition(task, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})

	It("but not what is wrong with the Vault that stands in the task itself", func() {
		spec := vault.Config(namespace, "x").Spec
		task := builder.VaultTask(namespace, "inline", v1alpha1.OperationRead, namespace+"/db",
			func(t *v1alpha1.VaultTask) {
				t.Spec.TaskTarget = v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{URL: spec.URL,
					CACertificate: "garbage", Auth: spec.Auth}}
				t.Spec.EnginePath = "secret"
			})
		create(task)
		expectCondition(task, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonInvalidSpec,
			ContainSubstring("spec.caCertificate"))
	})
})
