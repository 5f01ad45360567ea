package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// shown is a file as render -o json has it.
type shown struct{ Path, Mode, Content, Missing string }

// storedIn is the secret in the engine "secret", as root reads it.
func storedIn(path string) map[string]any {
	GinkgoHelper()
	found, err := vault.Client().Logical().Read("secret/data/" + path)
	Expect(err).NotTo(HaveOccurred())
	Expect(found).NotTo(BeNil())
	data, _ := found.Data["data"].(map[string]any)
	return data
}

var _ = Describe("kubectl sallyport", func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
	})

	in := func(args ...string) []string { return append(args, "-n", namespace) }

	Describe("render", func() {
		BeforeEach(func() {
			vault.PutKV("secret/data/"+namespace+"/oracle", map[string]any{"user": "scott", "password": "tiger"})
			create(builder.Connection(namespace, "oracle", map[string]any{"url": "oracle://vault.secret(user):vault.secret(password)@db", "port": 1521},
				builder.WithSecret(namespace+"/oracle")))
		})

		It("shows the files with references in place of values", func() {
			Expect(run(in("render", "oracle")...)).To(Equal(result{Out: "==> port (0644) <==\n1521\n" +
				"==> type (0644) <==\ntest\n" +
				"==> url (0644) <==\noracle://<vault.secret(user)>:<vault.secret(password)>@db\n"}))
		})

		It("shows references into what a secret holds, and says which files need the values", func() {
			value := map[string]any{
				"port": `vault.secret(main."app.json".db.ports.0)`, "first": "vault.secret(main.list.0)", "all": "vault.secret(main.*)",
				"mode": `vault.secret(main.mode, "fast")`, "json": "vault.secret(main.json)",
			}
			secrets := builder.WithSecrets(builder.VaultSecret("main", namespace+"/app"))
			create(builder.Connection(namespace, "leads", value, secrets))
			Expect(run(in("render", "leads")...)).To(Equal(result{Out: "==> all (0644) <==\n<vault.secret(main.*)>\n" +
				"==> first (0644) <==\n<vault.secret(main.list.0)>\n==> json (0644) <==\n<vault.secret(main.json)>\n" +
				"==> mode (0644) <==\n<vault.secret(main.mode, \"fast\")>\n" +
				"==> port (0644) <==\n<vault.secret(main.\"app.json\".db.ports.0)>\n==> type (0644) <==\ntest\n"}))

			create(builder.Connection(namespace, "needs", value, secrets, builder.WithFiles(
				v1alpha1.ConnectionFile{Path: "app.conf", Template: "port={{ .port }}\n"},
				v1alpha1.ConnectionFile{Path: "parsed", Template: "{{ (fromJson .json).user }}"},
				v1alpha1.ConnectionFile{Path: "store.p12", Keystore: &v1alpha1.Keystore{
					Format: v1alpha1.KeystoreFormatPKCS12, Certificates: []string{"vault.secret(main.ca)"}, Password: "vault.secret(main.password)",
				}},
			)))
			r := run(in("render", "needs")...)
			Expect(r.Out).To(And(
				ContainSubstring("==> app.conf (0644) <==\nport=<vault.secret(main.\"app.json\".db.ports.0)>\n"),
				MatchRegexp(`==> parsed \(0644\) <==\n\? cannot be shown without values: line 1: .*depends on a value\n`),
				ContainSubstring("==> store.p12 (0644) <==\n? cannot be shown without values: a key store is made of the values themselves"),
			))
			Expect(r.Err).To(BeEmpty())
			Expect(r.Code).To(Equal(1))
		})

		It("shows values with the user's own token, and what that may not read", func() {
			environment := root()
			r := runWith(environment, "", in("render", "connection/oracle", "--show-values", "-o", "json")...)
			Expect(decode[list[shown]](r).Items).To(ContainElement(shown{Path: "url", Mode: "0644", Content: "oracle://scott:tiger@db"}))
			Expect(r.Code).To(Equal(0))

			environment["VAULT_TOKEN"] = vault.Token(env.TokenOptions{})
			r = runWith(environment, "", in("render", "oracle", "--show-values")...)
			Expect(oneSentence(r)).To(And(ContainSubstring("with your own token: "), ContainSubstring(`"read"`)))
			Expect(r.Code).To(Equal(3))

			environment["VAULT_TOKEN"] = "hvs.wrong"
			r = runWith(environment, "", in("render", "oracle", "--show-values")...)
			Expect(oneSentence(r)).To(ContainSubstring("is not accepted by Vault"))
			Expect(oneSentence(r)).NotTo(ContainSubstring("hvs."))

			r = run(in("render", "oracle", "--show-values")...)
			Expect(oneSentence(r)).To(ContainSubstring("set VAULT_ADDR"))
			Expect(r.Code).To(Equal(3))
		})

		It("sends the user's token nowhere but to VAULT_ADDR", func() {
			strange, err := env.StartProxy(vault)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(strange.Close)
			config := &v1alpha1.VaultConfig{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: builder.ConfigName}, config)).To(Succeed())
			config.Spec.URL = strange.URL()
			Expect(cp.Client.Update(ctx, config)).To(Succeed())
			await(config, v1alpha1.ConditionReady, v1alpha1.ReasonSucceeded)
			var reached atomic.Bool
			strange.Observe(func(r *http.Request) {
				if r.Header.Get("X-Vault-Token") == vault.RootToken() {
					reached.Store(true)
				}
			})
			r := runWith(root(), "", in("render", "oracle", "--show-values")...)
			Expect(r.Out).To(ContainSubstring("oracle://scott:tiger@db"))
			Expect(reached.Load()).To(BeFalse())
		})

		It("has nothing made for nobody", func() {
			create(builder.Connection(namespace, "orders", map[string]any{"c": "vault.secret(certificate)"},
				builder.WithSecrets(posted(secretAt("pki", "secretless", "issue/app"), nil))))
			Expect(vault.Client().Sys().Mount("secretless", kvMount("1"))).To(Or(Succeed(), MatchError(ContainSubstring("existing mount"))))
			r := runWith(root(), "", in("render", "orders", "--show-values")...)
			Expect(oneSentence(r)).To(ContainSubstring("KV"), "nothing is written to a KV engine")
			create(builder.Connection(namespace, "keys", map[string]any{"c": "vault.secret(ciphertext)"},
				builder.WithSecrets(posted(secretAt("t", "transit-of-render", "datakey/wrapped/app"), nil))))
			vault.Mount("transit-of-render", "transit")
			vault.Create("transit-of-render/keys/app")
			r = runWith(root(), "", in("render", "keys", "--show-values")...)
			Expect(oneSentence(r)).To(ContainSubstring("is made for each pod"))
			Expect(r.Code).To(Equal(3))
		})
	})

	Describe("write", func() {
		It("stores a value that the cluster never sees", func() {
			r := runWith(root(), "correct horse\n", in("write", namespace+"/db", "password", "--config", "main", "--name", "task")...)
			Expect(r).To(Equal(result{Out: "VaultTask " + namespace + "/task: wrote version 1 of secret/data/" + namespace + "/db\n"}))
			Expect(storedIn(namespace + "/db")).To(Equal(map[string]any{"password": "correct horse"}))

			task := &v1alpha1.VaultTask{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "task"}, task)).To(Succeed())
			Expect(task.Spec.Result).To(BeNil(), "it is sealed to nobody")
			secrets := &corev1.SecretList{}
			Expect(cp.Client.List(ctx, secrets, client.InNamespace(namespace))).To(Succeed())
			Expect(secrets.Items).To(HaveExactElements(HaveField("Name", builder.TokenSecretName)), "the wrapping token is gone")
			for _, object := range []any{task, secrets} {
				written, err := json.Marshal(object)
				Expect(err).NotTo(HaveOccurred())
				Expect(string(written)).NotTo(ContainSubstring("correct horse"))
			}

			By("replacing nothing")
			r = runWith(root(), "other", in("write", namespace+"/db", "password", "--config", "main")...)
			Expect(r.Out).To(ContainSubstring("CASMismatch"))
			Expect(r.Code).To(Equal(1))
			r = runWith(root(), "other", in("write", namespace+"/db", "password", "--config", "main", "--overwrite")...)
			Expect(r.Code).To(Equal(0), r.Out+r.Err)
			Expect(storedIn(namespace + "/db")).To(Equal(map[string]any{"password": "other"}))
		})

		It("has values generated, which nobody sees but who has the key", func() {
			key, err := age.GenerateX25519Identity()
			Expect(err).NotTo(HaveOccurred())
			file := filepath.Join(GinkgoT().TempDir(), "key.txt")
			Expect(os.WriteFile(file, []byte(key.String()+"\n"), 0o600)).To(Succeed())

			r := run(in("write", namespace+"/made", "a", "b", "--config", namespace+"/main", "--generate", "--length", "20",
				"--seal-to", key.Recipient().String(), "--name", "made")...)
			Expect(r.Code).To(Equal(0), r.Out+r.Err)
			stored := storedIn(namespace + "/made")
			Expect(stored).To(And(HaveKeyWithValue("a", HaveLen(20)), HaveKeyWithValue("b", HaveLen(20))))

			r = run(in("open", "vaulttask/made", "-i", file)...)
			Expect(decode[map[string]any](r)).To(Equal(stored))
			Expect(run(in("open", "vaulttask/made", "-i", file, "--key", "a")...)).To(Equal(result{Out: stored["a"].(string)}))
			Expect(runWith(nil, key.String(), in("open", "vaulttask/made", "-i", "-", "--key", "b")...)).To(Equal(result{Out: stored["b"].(string)}))

			By("being sealed to somebody else")
			other, err := age.GenerateX25519Identity()
			Expect(err).NotTo(HaveOccurred())
			r = runWith(nil, other.String(), in("open", "vaulttask/made", "-i", "-")...)
			Expect(oneSentence(r)).To(And(ContainSubstring("it is sealed to "+key.Recipient().String()), ContainSubstring("your key is "+other.Recipient().String())))
			Expect(r.Code).To(Equal(3))

			By("a file")
			task := &v1alpha1.VaultTask{}
			Expect(cp.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "made"}, task)).To(Succeed())
			r = runWith(nil, task.Status.Result.Sealed, "open", "-f", "-", "-i", file, "--kubeconfig", "/does/not/exist")
			Expect(decode[map[string]any](r)).To(Equal(stored))
		})

		It("says what a task waits for", func() {
			r := run(in("write", namespace+"/x", "a", "--config", "nobody", "--generate", "--timeout", "12s")...)
			Expect(r.Err).To(BeEmpty())
			Expect(r.Out).To(And(ContainSubstring("it has not ended yet."), ContainSubstring("VaultConfig "+namespace+"/nobody does not exist")))
			Expect(r.Code).To(Equal(1))
		})

		It("leaves nothing where the task may not be written", func() {
			grant(namespace, "writer", "view")
			grant(namespace, "writer", "edit")
			create(&rbacv1.RoleBinding{ // Secrets, too
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "writer"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-edit"},
				Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "writer"}},
			})
			Expect(cp.AwaitRights(ctx)).To(Succeed())
			r := runWith(root(), "value", in("write", namespace+"/x", "a", "--config", "main", "--as", "writer")...)
			Expect(oneSentence(r)).To(ContainSubstring(`"writer" cannot create resource "vaulttasks"`))
			secrets := &corev1.SecretList{}
			Expect(cp.Client.List(ctx, secrets, client.InNamespace(namespace))).To(Succeed())
			Expect(secrets.Items).To(HaveLen(1))
		})
	})

	DescribeTable("says in one sentence what is wrong with what it is given", func(code int, sentence, stdin string, args ...string) {
		r := runWith(root(), stdin, in(args...)...)
		Expect(oneSentence(r)).To(ContainSubstring(sentence))
		Expect(strings.TrimSpace(r.Err)).NotTo(ContainSubstring("hidden"))
		Expect(r.Code).To(Equal(code))
	},
		Entry("a value on the command line", 2, "name keys only", "", "write", "x", "a=hidden", "--config", "main"),
		Entry("an empty path", 2, "PATH is empty", "", "write", "", "a", "--config", "main"),
		Entry("an empty key", 2, "a KEY is empty", "", "write", "x", "", "--config", "main"),
		Entry("a key twice", 2, `the key "a" is named twice`, "", "write", "x", "a", "a", "--config", "main", "--generate"),
		Entry("a VaultConfig without a name", 2, "--config is NAME or NAMESPACE/NAME", "", "write", "x", "a", "--config", "shop/"),
		Entry("both ways to replace", 2, "give one of both", "", "write", "x", "a", "--config", "main", "--patch", "--overwrite"),
		Entry("no VaultConfig", 2, `required flag(s) "config" not set`, "", "write", "x", "a"),
		Entry("several values by a pipe", 2, "standard input is one value", "hidden", "write", "x", "a", "b", "--config", "main"),
		Entry("an empty value", 3, "the value of a is empty", "\n", "write", "x", "a", "--config", "main"),
		Entry("bytes that are no text", 3, "encode it in base64", "\xff", "write", "x", "a", "--config", "main"),
		Entry("a VaultConfig that is not there", 3, `"nobody" not found`, "hidden", "write", "x", "a", "--config", "nobody"),
		Entry("another kind to write a policy for", 2, "policy is for vaultconfig, not for pod", "", "policy", "pod/x"),
		Entry("another kind to render", 2, "render is for connection, not for vaulttask", "", "render", "vaulttask/x"),
		Entry("another kind to open", 2, "open is for vaulttask, not for pod", "AGE-SECRET-KEY-1hidden", "open", "pod/x", "-i", "-"),
		Entry("nothing to open", 2, "name a VaultTask, or a file with -f", "", "open", "-i", "-"),
		Entry("no key", 2, `required flag(s) "identity" not set`, "", "open", "vaulttask/x"),
		Entry("a key file that is none", 3, "holds no age key", "hidden", "open", "-f", "/dev/null", "-i", "-"),
		Entry("a file that is not there", 3, "/does/not/exist", "", "open", "-f", "/does/not/exist", "-i", "-"),
		Entry("files that are not there", 3, "/does/not/exist", "", "policy", "-f", "/does/not/exist"),
	)
})
