package integration

import (
	"encoding/json"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A Connection with odd content", func() {
	var (
		namespace string
		caller    *caller
	)

	BeforeEach(func() {
		namespace = newNamespace()
		readyConfig(namespace)
		caller = newCaller(replica)
	})

	It("has no cycles: what an override or a secret brings in is text, whatever it looks like", func() {
		value := canary()
		vault.PutKV("secret/data/"+namespace+"/odd", map[string]any{"a": "vault.secret(b)", "b": "vault.secret(a)", "real": value})
		create(builder.Connection(namespace, "db", map[string]any{"a": "vault.secret(a)", "b": "vault.secret(b)", "c": "vault.secret(real)", "d": "x"}, builder.WithSecret(namespace+"/odd")))
		response, err := mountEventually(caller, newPod(namespace, map[string]string{
			"connection": "db", "value.c": "vault.secret(real)", "value.d": "vault.secret(d) vault.secret(c)",
		}))
		Expect(err).NotTo(HaveOccurred())
		Expect(files(response)).To(Equal(map[string]string{
			"type": "test", "a": "vault.secret(b)", "b": "vault.secret(a)", "c": "vault.secret(real)", "d": "vault.secret(d) vault.secret(c)",
		}))
	})

	It("finds keys that look like numbers, or words of JSON", func() {
		data := map[string]any{"1": "one", "1.5": "dotted", "true": "yes", "null": "nothing", "a b": "blank", "ü\"\\": "hostile", "object": map[string]any{"1": 2}}
		vault.PutKV("secret/data/"+namespace+"/odd", data)
		value := map[string]any{}
		for key := range data {
			quoted, err := json.Marshal(key)
			Expect(err).NotTo(HaveOccurred())
			value[fmt.Sprintf("f%x", key)] = "vault.secret(" + string(quoted) + ")"
		}
		value["1"], value["true"] = "vault.secret(1)", "vault.secret(true)"
		c := builder.Connection(namespace, "db", value, builder.WithSecret(namespace+"/odd"))
		create(c)
		expectCondition(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "db"}))
		Expect(err).NotTo(HaveOccurred())
		found := files(response)
		for key, content := range data {
			if text, ok := content.(string); ok {
				Expect(found).To(HaveKeyWithValue(fmt.Sprintf("f%x", key), text))
			}
		}
		Expect(found).To(And(HaveKeyWithValue("1", "one"), HaveKeyWithValue("true", "yes"), HaveKeyWithValue(fmt.Sprintf("f%x", "object"), `{"1":2}`)))
	})

	It("may read one of 10,000 keys, but not make 10,000 files, except as one", func() {
		data, value := map[string]any{}, map[string]any{}
		for i := range 10_000 {
			data[fmt.Sprint("key", i)], value[fmt.Sprint("key", i)] = fmt.Sprint("value", i), "x"
		}
		vault.PutKV("secret/data/"+namespace+"/many", data)
		one := builder.Connection(namespace, "one", map[string]any{"a": "vault.secret(key9999)"}, builder.WithSecret(namespace+"/many"))
		many := builder.Connection(namespace, "many", value, builder.WithSecret(namespace+"/many"))
		single := builder.Connection(namespace, "single", value, builder.WithSecret(namespace+"/many"), builder.WithFiles(v1alpha1.ConnectionFile{Path: "all.json", Format: v1alpha1.FileFormatJSON}))
		create(one, many, single)
		expectCondition(one, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(many, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTooLarge,
			HaveSuffix("value makes 10001 files, the file \"type\" included; a volume holds at most 512: put several keys into one object, which becomes one file, or name files"))
		expectCondition(single, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		response, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "single"}))
		Expect(err).NotTo(HaveOccurred())
		var all map[string]string
		Expect(json.Unmarshal([]byte(files(response)["all.json"]), &all)).To(Succeed())
		Expect(all).To(HaveLen(10_000))
	})

	It("waits while a quota of Vault is used up, and says so", func() {
		engine := "quota-" + namespace
		vault.Mount(engine, "kv")
		DeferCleanup(func() { vault.Unmount(engine) })
		vault.Policy(engine, fmt.Sprintf(`path "%s/*" { capabilities = ["read"] }`, engine))
		tokenSecretNamed(namespace, "quota", env.TokenOptions{Policies: []string{engine}})
		config := vault.Config(namespace, "main")
		reconfigure(config, func(c *v1alpha1.VaultConfig) {
			c.Spec.EnginePath, c.Spec.Auth.Token.SecretKeyRef.Name = engine, "quota"
		})
		vault.PutKV(engine+"/db", map[string]any{"password": canary()})
		create(builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret("db")))
		pod := newPod(namespace, map[string]string{"connection": "db"})
		_, err := mountEventually(caller, pod)
		Expect(err).NotTo(HaveOccurred())
		vault.Write("sys/quotas/rate-limit/"+namespace, map[string]any{"path": engine, "rate": 0.01, "interval": "10m"})
		Eventually(func() error { _, err = caller.mount(pod); return err }).Should(MatchError(ContainSubstring("429 too many requests")))
		_, err = caller.mount(pod)
		expectFault(err, v1alpha1.ReasonRateLimited, "a quota in Vault is used up")
		_, err = vault.Client().Logical().Delete("sys/quotas/rate-limit/" + namespace)
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error { _, err = caller.mount(pod); return err }).Should(Succeed())
	})

	It("may read a small value of a huge secret, but not mount the huge one", func() {
		vault.PutKV("secret/data/"+namespace+"/huge", map[string]any{"small": "s", "huge": strings.Repeat("x", 1<<20-4096)})
		small := builder.Connection(namespace, "small", map[string]any{"a": "vault.secret(small)"}, builder.WithSecret(namespace+"/huge"))
		huge := builder.Connection(namespace, "huge", map[string]any{"a": "vault.secret(huge)vault.secret(huge)"}, builder.WithSecret(namespace+"/huge"))
		create(small, huge)
		expectCondition(small, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectCondition(huge, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		_, err := mountEventually(caller, newPod(namespace, map[string]string{"connection": "huge"}))
		expectFault(err, v1alpha1.ReasonTooLarge, "Connection "+namespace+"/huge")
	})
})
