package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A wrapped secret ID in a Connection of type VAULT", func() {
	var (
		namespace, mount string
		proxy            *env.Proxy
		roleID           string
	)

	BeforeEach(func() {
		namespace = newNamespace()
		taskConfig(namespace)
		var err error
		proxy, err = env.StartProxy(vault)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(proxy.Close)
		// What is unwrapped may appear nowhere.
		proxy.Inject(env.Fault{Path: "sys/wrapping/unwrap", Rewrite: func(body []byte) []byte {
			answer := struct {
				Data map[string]any `json:"data"`
			}{}
			if json.Unmarshal(body, &answer) == nil {
				if secretID, is := answer.Data["secret_id"].(string); is {
					remember(secretID)
				}
			}
			return body
		}})
		mount = "wrapped-" + namespace
		vault.EnableAuth(mount, "approle")
		DeferCleanup(func() { vault.DisableAuth(mount) })
		vault.Write("auth/"+mount+"/role/app", map[string]any{"token_policies": "everything"})
		roleID = vault.Get("auth/" + mount + "/role/app/role-id")["role_id"]
	})

	secretIDPath := func() string { return "auth/" + mount + "/role/app/secret-id" }
	wrap := func(path string, ttl time.Duration) string {
		token := vault.Wrap(path, ttl)
		remember(token)
		return token
	}
	put := func(tokens string) {
		vault.PutKV("secret/data/"+namespace+"/elsewhere", map[string]any{"wrapping": tokens})
	}
	connection := func(name string, change map[string]any) *v1alpha1.Connection {
		value := map[string]any{
			"url": proxy.URL(), "caCertificate": vault.CACertificate(), "enginePath": "secret", "authMount": mount, "roleID": roleID,
			"secretID": "vault.secret(main:" + namespace + "/elsewhere.wrapping)", "secretIDWrapped": true,
		}
		maps.Copy(value, change)
		maps.DeleteFunc(value, func(_ string, v any) bool { return v == nil })
		c := builder.Connection(namespace, name, value, builder.WithType("VAULT"))
		create(c)
		return c
	}
	task := func(name, connection string, operation v1alpha1.VaultTaskOperation, options ...func(*v1alpha1.VaultTask)) *v1alpha1.VaultTask {
		options = append(options, func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: connection}}
		})
		t := builder.VaultTask(namespace, name, operation, namespace+"/"+name, options...)
		create(t)
		return t
	}
	data := builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"})
	succeeds := func(t *v1alpha1.VaultTask) {
		GinkgoHelper()
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	}
	again := func(t *v1alpha1.VaultTask, rerun string) {
		GinkgoHelper()
		update(t, func(t *v1alpha1.VaultTask) { t.Annotations = map[string]string{v1alpha1.AnnotationRerun: rerun} })
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(t), t)).To(Succeed())
			g.Expect(t.Status.Rerun).To(Equal(rerun))
			g.Expect(t.Status.CompletionTime).NotTo(BeNil())
		}).Should(Succeed())
		succeeds(t)
	}
	waits := func(t *v1alpha1.VaultTask, reason, sentence string) {
		GinkgoHelper()
		expectCondition(t, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, ContainSubstring(sentence))
	}
	unwrapped := func() int { return proxy.Counts()["POST sys/wrapping/unwrap"] }
	source := func(name string) string { return fmt.Sprintf("Connection %s/%s, key %q", namespace, name, "secretID") }
	usedUp := func(name string) string {
		return "no wrapping token in " + source(name) + " works: each has expired or was used before, by the controller before its last " +
			"start or by somebody else (Connection " + namespace + "/" + name + ", auth appRole); put a new wrapping token into " + source(name) +
			"; if it was not the controller, see in Vault's audit log who unwrapped it, and have the secret ID that was in it destroyed"
	}

	It("is unwrapped once, for all runs and tasks", func() {
		put(wrap(secretIDPath(), 10*time.Minute) + "\n")
		connection("vault", nil)
		By("a run that fails, and the next")
		read := task("late", "vault", v1alpha1.OperationRead)
		expectCondition(read, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonSecretNotFound,
			ContainSubstring("secret/data/"+namespace+"/late"))
		Expect(unwrapped()).To(Equal(1))
		vault.PutKV("secret/data/"+namespace+"/late", map[string]any{"a": "b"})
		again(read, "2")
		By("another task, and another run of it")
		write := task("write", "vault", v1alpha1.OperationWrite, data)
		succeeds(write)
		again(write, "2")
		By("tasks at the same time")
		tasks := make([]*v1alpha1.VaultTask, 5)
		var all sync.WaitGroup
		for n := range tasks {
			all.Go(func() {
				defer GinkgoRecover()
				tasks[n] = task(fmt.Sprint("write-", n), "vault", v1alpha1.OperationWrite, data)
			})
		}
		all.Wait()
		for _, t := range tasks {
			succeeds(t)
		}
		Expect(unwrapped()).To(Equal(1))
		Expect(proxy.Counts()).To(HaveKeyWithValue("POST sys/wrapping/lookup", 1))
		Eventually(func() int { return vault.TokensFrom("auth/" + mount + "/login") }).Should(BeZero())

		By("but for no other Connection")
		connection("other", nil)
		waits(task("other", "other", v1alpha1.OperationWrite, data), v1alpha1.ReasonAuthFailed, usedUp("other"))
		Expect(unwrapped()).To(Equal(1))
	})

	It("that was used before, or has expired, is an alarm, which a new wrapping token ends", func() {
		stolen := wrap(secretIDPath(), 10*time.Minute)
		_, err := vault.Client().Logical().UnwrapWithContext(ctx, stolen)
		Expect(err).NotTo(HaveOccurred())
		put(stolen)
		connection("vault", nil)
		t := task("write", "vault", v1alpha1.OperationWrite, data)
		waits(t, v1alpha1.ReasonAuthFailed, usedUp("vault"))

		expired := wrap(secretIDPath(), time.Second)
		Eventually(func() error {
			_, failure := vault.Client().Logical().WriteWithContext(ctx, "sys/wrapping/lookup", map[string]any{"token": expired})
			return failure
		}).Should(HaveOccurred())
		put(expired)
		waits(task("expired", "vault", v1alpha1.OperationWrite, data), v1alpha1.ReasonAuthFailed, usedUp("vault"))
		Expect(unwrapped()).To(BeZero())

		put(stolen + "\n" + expired + "\n" + wrap(secretIDPath(), 10*time.Minute))
		update(t, func(t *v1alpha1.VaultTask) { t.Spec.BackoffLimit = new(int32(9)) })
		succeeds(t)
		Expect(unwrapped()).To(Equal(1))
	})

	It("that comes from elsewhere is not opened", func() {
		foreign := wrap("auth/token/create", 10*time.Minute)
		put(foreign)
		connection("vault", nil)
		waits(task("write", "vault", v1alpha1.OperationWrite, data), v1alpha1.ReasonAuthFailed,
			"a wrapping token in "+source("vault")+" does not come from auth/"+mount+"/role/NAME/secret-id")
		_, err := vault.Client().Logical().UnwrapWithContext(ctx, foreign)
		Expect(err).NotTo(HaveOccurred(), "it is still good")
	})

	It("is not lost to a wrong role ID", func() {
		put(wrap(secretIDPath(), 10*time.Minute))
		c := connection("vault", map[string]any{"roleID": "wrong"})
		t := task("write", "vault", v1alpha1.OperationWrite, data)
		waits(t, v1alpha1.ReasonAuthFailed, "put a new wrapping token into "+source("vault"))
		update(c, func(c *v1alpha1.Connection) { c.Spec.Value["roleID"] = builder.JSON(map[string]any{"x": roleID})["x"] })
		update(t, func(t *v1alpha1.VaultTask) { t.Spec.BackoffLimit = new(int32(9)) })
		succeeds(t)
		Expect(unwrapped()).To(Equal(1))
	})

	DescribeTable("is told from mistakes", func(change map[string]any, sentence string) {
		put("hvs.none")
		connection("vault", change)
		waits(task("write", "vault", v1alpha1.OperationWrite, data), v1alpha1.ReasonInvalidSpec, sentence)
		Expect(proxy.Counts()).To(BeEmpty())
	},
		Entry("none is there", map[string]any{"secretID": nil}, `value has no text at the key "secretID", which belongs to roleID; add it`),
		Entry("another login", map[string]any{"secretID": nil, "roleID": nil, "authMount": nil, "token": "x"},
			`value has the key "secretIDWrapped", which belongs to roleID and secretID; remove it`),
		Entry("no truth value", map[string]any{"secretIDWrapped": "yes"},
			`value has something else than a truth value at the key "secretIDWrapped"; write true or false`),
		Entry("a number", map[string]any{"secretIDWrapped": 1},
			`value has something else than a truth value at the key "secretIDWrapped"; write true or false`),
		Entry("a reference", map[string]any{"secretIDWrapped": "vault.secret(main:x/elsewhere.wrapping)"},
			`value has a reference at the key "secretIDWrapped"`),
	)

	It("may be called so as text", func() {
		put(wrap(secretIDPath(), 10*time.Minute))
		connection("vault", map[string]any{"secretIDWrapped": "true"})
		succeeds(task("write", "vault", v1alpha1.OperationWrite, data))
	})

	It("must be called one", func() {
		put(wrap(secretIDPath(), 10*time.Minute))
		connection("vault", map[string]any{"secretIDWrapped": false})
		waits(task("write", "vault", v1alpha1.OperationWrite, data), v1alpha1.ReasonInvalidSpec, source("vault")+
			" holds a Vault token and no secret ID (Connection "+namespace+"/vault); put a secret ID there, or set secretIDWrapped if it is a wrapping token")
	})
})
