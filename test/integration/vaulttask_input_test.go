package integration

import (
	"fmt"
	"maps"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// wrapped has Vault keep data, and returns the wrapping token in a Secret "wrapped" of the namespace.
func wrapped(namespace string, data map[string]any, ttl string) string {
	GinkgoHelper()
	client, err := vault.Client().Clone()
	Expect(err).NotTo(HaveOccurred())
	client.SetToken(vault.RootToken())
	client.SetWrappingLookupFunc(func(string, string) string { return ttl })
	secret, err := client.Logical().WriteWithContext(ctx, "sys/wrapping/wrap", data)
	Expect(err).NotTo(HaveOccurred())
	remember(secret.WrapInfo.Token)
	create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "wrapped"},
		Data:       map[string][]byte{"token": []byte(secret.WrapInfo.Token + "\n")},
	})
	return secret.WrapInfo.Token
}

var _ = Describe("What a VaultTask writes", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		taskConfig(namespace)
	})

	written := func(t *v1alpha1.VaultTask) map[string]any {
		GinkgoHelper()
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		secret, err := vault.Client().KVv2("secret").Get(ctx, t.Spec.SecretPath)
		Expect(err).NotTo(HaveOccurred())
		return secret.Data
	}
	from := func(sources ...v1alpha1.TaskDataSource) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) { t.Spec.DataFrom = sources }
	}
	generated := func(values ...v1alpha1.GeneratedValue) func(*v1alpha1.VaultTask) {
		return func(t *v1alpha1.VaultTask) { t.Spec.Generate = values }
	}
	unwraps := func(t *v1alpha1.VaultTask) {
		t.Spec.Unwrap = &v1alpha1.WrappingTokenSource{SecretKeyRef: v1alpha1.SecretKeyReference{Name: "wrapped", Key: "token"}}
	}

	It("comes from Secrets and ConfigMaps, literally", func() {
		password := canary() + "vault.secret("
		create(
			builder.Secret(namespace, "db", map[string]string{"password": password, "other": "x"}),
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db"}, Data: map[string]string{"host": "db.example.com"}},
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "binary"}, Data: map[string][]byte{"key": {0xff, 0xfe}}},
		)
		Expect(written(builder.VaultTask(namespace, "from", v1alpha1.OperationWrite, namespace+"/from",
			builder.WithData(map[string]v1alpha1.TaskValue{"user": "scott"}),
			from(v1alpha1.TaskDataSource{SecretRef: &v1alpha1.LocalReference{Name: "db"}, Keys: []string{"password"}},
				v1alpha1.TaskDataSource{ConfigMapRef: &v1alpha1.LocalReference{Name: "db"}, Prefix: "db-"}),
		))).To(Equal(map[string]any{"user": "scott", "password": password, "db-host": "db.example.com"}))

		By("which must exist, hold text, and not say the same twice")
		for name, wrong := range map[string]struct {
			condition, reason, sentence string
			status                      metav1.ConditionStatus
			source                      v1alpha1.TaskDataSource
		}{
			"none":   {v1alpha1.ConditionReady, v1alpha1.ReasonCredentialMissing, "none does not exist", "False", v1alpha1.TaskDataSource{SecretRef: &v1alpha1.LocalReference{Name: "none"}}},
			"no-key": {v1alpha1.ConditionReady, v1alpha1.ReasonCredentialMissing, `has no key "x"`, "False", v1alpha1.TaskDataSource{SecretRef: &v1alpha1.LocalReference{Name: "db"}, Keys: []string{"x"}}},
			"binary": {v1alpha1.ConditionReady, v1alpha1.ReasonInvalidSpec, "encode it in base64", "False", v1alpha1.TaskDataSource{SecretRef: &v1alpha1.LocalReference{Name: "binary"}}},
			"twice":  {v1alpha1.ConditionFailed, v1alpha1.ReasonInvalidSpec, `the key "user" is given by another source`, "True", v1alpha1.TaskDataSource{ConfigMapRef: &v1alpha1.LocalReference{Name: "user"}}},
		} {
			if name == "twice" {
				create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "user"}, Data: map[string]string{"user": "x"}})
			}
			t := builder.VaultTask(namespace, name, v1alpha1.OperationWrite, namespace+"/"+name, builder.WithData(map[string]v1alpha1.TaskValue{"user": "scott"}), from(wrong.source))
			create(t)
			expectCondition(t, wrong.condition, wrong.status, wrong.reason, ContainSubstring(wrong.sentence))
		}
	})

	It("is 1 MiB at most", func() {
		half := strings.Repeat("x", 1<<19)
		create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "half"}, Data: map[string]string{"half": half}})
		t := builder.VaultTask(namespace, "big", v1alpha1.OperationWrite, namespace+"/big", from(
			v1alpha1.TaskDataSource{ConfigMapRef: &v1alpha1.LocalReference{Name: "half"}},
			v1alpha1.TaskDataSource{ConfigMapRef: &v1alpha1.LocalReference{Name: "half"}, Prefix: "other-"},
		))
		create(t)
		expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonTooLarge, ContainSubstring("less than 1 MiB"))
	})

	It("is made by chance, and replaces nothing unless it is told to", func() {
		_, err := vault.Client().Logical().WriteWithContext(ctx, "sys/policies/password/"+namespace,
			map[string]any{"policy": `length = 20` + "\n" + `rule "charset" { charset = "abc" }`})
		Expect(err).NotTo(HaveOccurred())
		create := builder.VaultTask(namespace, "create", v1alpha1.OperationWrite, namespace+"/made", generated(
			v1alpha1.GeneratedValue{Key: "default"},
			v1alpha1.GeneratedValue{Key: "digits", Length: new(int32(20)), Charset: "0123456789"},
			v1alpha1.GeneratedValue{Key: "policy", PasswordPolicy: namespace},
		))
		first := written(create)
		Expect(create.Status.Claim.CAS).To(HaveValue(BeEquivalentTo(0)))
		Expect(first["default"]).To(MatchRegexp("^[A-Za-z0-9]{32}$"))
		Expect(first["digits"]).To(MatchRegexp("^[0-9]{20}$"), "long enough that no log holds it by chance")
		Expect(first["policy"]).To(MatchRegexp("^[abc]{20}$"))
		for _, value := range first {
			remember(value.(string))
		}

		By("running it again, or making it anew, which changes nothing")
		update(create, func(t *v1alpha1.VaultTask) { t.Annotations = map[string]string{v1alpha1.AnnotationRerun: "1"} })
		expectCondition(create, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonCASMismatch, ContainSubstring("set overwrite: true to rotate it"))

		By("rotating it")
		rotate := builder.VaultTask(namespace, "rotate", v1alpha1.OperationWrite, namespace+"/made", generated(v1alpha1.GeneratedValue{Key: "default"}),
			func(t *v1alpha1.VaultTask) { t.Spec.Overwrite = new(true) })
		second := written(rotate)
		Expect(rotate.Status.Result.Version).To(BeEquivalentTo(2))
		Expect(second["default"]).NotTo(Equal(first["default"]))

		By("patching one key, likewise")
		patch := builder.VaultTask(namespace, "patch", v1alpha1.OperationPatch, namespace+"/made", generated(v1alpha1.GeneratedValue{Key: "more"}))
		Expect(written(patch)).To(And(HaveKeyWithValue("default", second["default"]), HaveKey("more")))
		update(patch, func(t *v1alpha1.VaultTask) { t.Annotations = map[string]string{v1alpha1.AnnotationRerun: "1"} })
		expectCondition(patch, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonCASMismatch, ContainSubstring(`has the key "more" already`))
	})

	It("is unwrapped, once", func() {
		password := canary()
		token := wrapped(namespace, map[string]any{"password": password}, "10m")
		t := builder.VaultTask(namespace, "unwrap", v1alpha1.OperationWrite, namespace+"/unwrapped", builder.WithData(map[string]v1alpha1.TaskValue{"user": "scott"}), unwraps)
		Expect(written(t)).To(Equal(map[string]any{"user": "scott", "password": password}))
		_, err := vault.Client().Logical().UnwrapWithContext(ctx, token)
		Expect(err).To(HaveOccurred(), "the token is used up")

		By("which a second run notices before it does anything")
		update(t, func(t *v1alpha1.VaultTask) { t.Annotations = map[string]string{v1alpha1.AnnotationRerun: "1"} })
		expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonWrappingTokenInvalid, ContainSubstring("expired or used already"))
		Expect(t.Status.Claim).To(BeNil())
	})

	It("is not unwrapped from a token that expired", func() {
		wrapped(namespace, map[string]any{"password": canary()}, "1s")
		time.Sleep(1500 * time.Millisecond) // by Vault's clock, which no test can set
		t := builder.VaultTask(namespace, "late", v1alpha1.OperationWrite, namespace+"/late", unwraps)
		create(t)
		expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonWrappingTokenInvalid)
	})
})

var _ = Describe("The Vault that a VaultTask means", func() {
	var namespace string

	BeforeEach(func() { namespace = newNamespace() })

	It("may stand in the task itself, without any VaultConfig", func() {
		token := tokenSecret(namespace, env.TokenOptions{Policies: []string{"everything"}})
		inline := func(t *v1alpha1.VaultTask) {
			spec := vault.Config(namespace, "x").Spec
			t.Spec.TaskTarget = v1alpha1.TaskTarget{Vault: &v1alpha1.InlineVault{URL: spec.URL, CACertificate: spec.CACertificate, Auth: spec.Auth}}
			t.Spec.EnginePath = "secret"
		}
		t := builder.VaultTask(namespace, "inline", v1alpha1.OperationWrite, namespace+"/inline", inline, builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

		By("where sentences name the task")
		vault.Revoke(token)
		dead := builder.VaultTask(namespace, "dead", v1alpha1.OperationRead, namespace+"/inline", inline)
		create(dead)
		expectCondition(dead, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed, ContainSubstring("VaultTask "+namespace+"/dead, auth token"))
		no := builder.VaultTask(namespace, "no-engine", v1alpha1.OperationRead, "x", inline, func(t *v1alpha1.VaultTask) { t.Spec.EnginePath = "" })
		create(no)
		expectCondition(no, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed)
	})

	It("may be a Connection of type VAULT", func() {
		taskConfig(namespace)
		other := vault.Token(env.TokenOptions{Policies: []string{"everything"}})
		remember(other)
		vault.PutKV("secret/data/"+namespace+"/vault", map[string]any{"token": other})
		create(builder.Connection(namespace, "vault", map[string]any{
			"url": vault.URL(), "caCertificate": vault.CACertificate(), "enginePath": "secret", "secretPath": namespace + "/connected",
			"path": "sys/mounts", "token": "vault.secret(main:" + namespace + "/vault.token)",
		}, builder.WithType("VAULT")))
		connected := func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: "vault"}}
		}
		t := builder.VaultTask(namespace, "connected", v1alpha1.OperationWrite, "", connected, builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}))
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		Expect(t.Status.Path).To(Equal("secret/" + namespace + "/connected"))
		_, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/connected")
		Expect(err).NotTo(HaveOccurred())
		generic := builder.VaultTask(namespace, "generic", v1alpha1.OperationGenericRead, "", connected)
		create(generic)
		expectCondition(generic, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)

		By("whose token is told to be the Connection's when it is dead")
		vault.Revoke(other)
		dead := builder.VaultTask(namespace, "dead", v1alpha1.OperationRead, "", connected)
		create(dead)
		expectCondition(dead, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed,
			ContainSubstring("put a new token into Connection "+namespace+"/vault, key"))

		By("and of no other type, and for no pods in particular")
		create(builder.Connection(namespace, "oracle", map[string]any{"url": "x"}),
			builder.Connection(namespace, "theirs", map[string]any{"url": "x"}, func(c *v1alpha1.Connection) {
				c.Spec.Type, c.Spec.AllowedServiceAccounts = "VAULT", []string{"app"}
			}),
			builder.Connection(namespace, "empty", map[string]any{"url": "x"}, builder.WithType("VAULT")))
		for name, reason := range map[string]string{
			"oracle": v1alpha1.ReasonInvalidSpec, "theirs": v1alpha1.ReasonNotAllowed, "empty": v1alpha1.ReasonInvalidSpec, "none": v1alpha1.ReasonConnectionNotFound,
		} {
			wrong := builder.VaultTask(namespace, name, v1alpha1.OperationRead, "x", func(t *v1alpha1.VaultTask) {
				t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: name}}
			})
			create(wrong)
			expectCondition(wrong, v1alpha1.ConditionReady, metav1.ConditionFalse, reason)
		}
	})

	It("may be a Connection whose value logs in", func() {
		taskConfig(namespace)
		mount := "tasks-" + namespace
		user, password := strings.ToLower(canary()), canary() // Vault keeps user names in lower case
		remember(user)
		for path, kind := range map[string]string{mount: "userpass", mount + "-role": "approle"} {
			vault.EnableAuth(path, kind)
			DeferCleanup(func() { vault.DisableAuth(path) })
		}
		vault.Write("auth/"+mount+"/users/"+user, map[string]any{"password": password, "token_policies": "everything"})
		vault.Write("auth/"+mount+"-role/role/app", map[string]any{"token_policies": "everything"})
		roleID := vault.Get("auth/" + mount + "-role/role/app/role-id")["role_id"]
		secretID := vault.Write("auth/"+mount+"-role/role/app/secret-id", nil)["secret_id"]
		remember(roleID)
		remember(secretID)
		vault.PutKV("secret/data/"+namespace+"/logins", map[string]any{
			"user": user, "password": password, "wrong": canary(), "role": roleID, "secret": secretID,
		})
		reference := func(key string) string { return "vault.secret(main:" + namespace + "/logins." + key + ")" }
		run := func(name string, credentials map[string]any) *v1alpha1.VaultTask {
			GinkgoHelper()
			value := map[string]any{"url": vault.URL(), "caCertificate": vault.CACertificate(), "enginePath": "secret"}
			maps.Copy(value, credentials)
			t := builder.VaultTask(namespace, name, v1alpha1.OperationWrite, namespace+"/"+name, builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}), func(t *v1alpha1.VaultTask) {
				t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: name}}
			})
			create(builder.Connection(namespace, name, value, builder.WithType("VAULT")), t)
			return t
		}
		for name, credentials := range map[string]map[string]any{
			"by-password": {"username": reference("user"), "password": reference("password"), "authMount": mount},
			"by-method":   {"username": reference("user"), "password": reference("password"), "authMount": mount, "authMethod": "userpass"},
			"by-role":     {"roleID": reference("role"), "secretID": reference("secret"), "authMount": mount + "-role"},
		} {
			expectCondition(run(name, credentials), v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
			secret, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/"+name)
			Expect(err).NotTo(HaveOccurred())
			Expect(secret.VersionMetadata.Version).To(Equal(1), name)
		}
		By("and leaves no token behind")
		Eventually(func() int {
			return vault.TokensFrom("auth/"+mount+"/login/"+user) + vault.TokensFrom("auth/"+mount+"-role/login")
		}).Should(BeZero())

		By("with a wrong password, which is not offered so often that the user is locked out")
		wrong := map[string]any{"username": reference("user"), "password": reference("wrong"), "authMount": mount}
		refused := run("wrong", wrong)
		expectCondition(refused, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAuthFailed,
			And(ContainSubstring("POST auth/"+mount+"/login/… → 400"), ContainSubstring("put the right password into Connection "+namespace+"/wrong, key"),
				ContainSubstring("or correct username")))
		for attempt := range 6 { // Vault locks a user after five
			update(refused, func(t *v1alpha1.VaultTask) {
				t.Annotations = map[string]string{v1alpha1.AnnotationRerun: fmt.Sprint(attempt)}
			})
			Eventually(func(g Gomega) {
				g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(refused), refused)).To(Succeed())
				g.Expect(refused.Status.Rerun).To(Equal(fmt.Sprint(attempt)))
			}).Should(Succeed())
		}
		vault.Write("auth/"+mount+"/login/"+user, map[string]any{"password": password})

		By("and with exactly one kind of credentials")
		for name, faulty := range map[string]struct {
			credentials map[string]any
			message     string
		}{
			"no-kind":     {nil, "has no credentials"},
			"two-kinds":   {map[string]any{"token": "x", "roleID": reference("role")}, "has credentials of more than one kind (token, roleID)"},
			"half":        {map[string]any{"username": reference("user")}, `has no text at the key "password", which belongs to username`},
			"odd-method":  {map[string]any{"username": "a", "password": "b", "authMethod": "oidc"}, "write userpass or ldap"},
			"shown-path":  {map[string]any{"token": "x", "secretPath": reference("password")}, `has a reference at the key "secretPath"`},
			"shown-url":   {map[string]any{"token": "x", "url": reference("password")}, `has a reference at the key "url"`},
			"odd-token":   {map[string]any{"token": "a", "authMount": "b"}, "which is for logins"},
			"slash-in-it": {map[string]any{"username": "a/b", "password": "b"}, "the user name is empty, or holds a slash"},
		} {
			expectCondition(run(name, faulty.credentials), v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec,
				ContainSubstring(faulty.message))
		}
	})
})
