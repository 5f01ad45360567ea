package integration

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A VaultTask with a Connection whose value logs in by LDAP", func() {
	var namespace, mount, user, password string

	BeforeEach(func() {
		namespace = newNamespace()
		taskConfig(namespace)
		mount, user, password = "ldap-"+namespace, strings.ToLower(canary()), canary() // Vault keeps user names in lower case
		remember(user)
		server, err := env.StartLDAP(ctx, map[string]string{user: password})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(server.Close)
		vault.EnableAuth(mount, "ldap")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.Write("auth/"+mount+"/config", map[string]any{
			"url": server.URL(), "userdn": "ou=people," + env.LDAPBase, "userattr": "uid", "discoverdn": false, "token_policies": "everything",
		})
		vault.PutKV("secret/data/"+namespace+"/directory", map[string]any{"user": user, "password": password, "wrong": canary()})
	})

	// run creates a Connection with the user's name and the password at a key in Vault, and a task on it that writes.
	run := func(name, passwordKey string) *v1alpha1.VaultTask {
		GinkgoHelper()
		reference := func(key string) string { return "vault.secret(main:" + namespace + "/directory." + key + ")" }
		t := builder.VaultTask(namespace, name, v1alpha1.OperationWrite, namespace+"/"+name, builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}), func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: name}}
		})
		create(builder.Connection(namespace, name, map[string]any{
			"url": vault.URL(), "caCertificate": vault.CACertificate(), "enginePath": "secret",
			"username": reference("user"), "password": reference(passwordKey), "authMount": mount, "authMethod": "ldap",
		}, builder.WithType("VAULT")), t)
		return t
	}

	It("writes once as that user and leaves no token behind", func() {
		expectCondition(run("by-ldap", "password"), v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		secret, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/by-ldap")
		Expect(err).NotTo(HaveOccurred())
		Expect(secret.VersionMetadata.Version).To(Equal(1))
		Expect(secret.Data).To(HaveKeyWithValue("a", "b"))
		Eventually(func() int { return vault.TokensFrom("auth/" + mount + "/login/" + user) }).Should(BeZero())
	})

	It("says where the password is to be corrected when the directory refuses it", func() {
		expectCondition(run("wrong", "wrong"), v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed, And(
			ContainSubstring("POST auth/"+mount+"/login/… → 400 wrong user name or password"),
			ContainSubstring("put the right password into Connection "+namespace+`/wrong, key "password", or correct username`)))
	})

	It("waits when Vault does not reach the directory", func() {
		vault.Write("auth/"+mount+"/config", map[string]any{"url": "ldap://127.0.0.1:1"})
		expectCondition(run("down", "password"), v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonVaultError,
			ContainSubstring("whether it reaches its LDAP server"))
	})
})
