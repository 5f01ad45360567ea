package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// misleading is what moves a terminal's cursor, forges a line of a log, turns text around, and is no text at all, with a
// cure that nobody should follow.
const misleading = "1.21\x1b[2J\r\n\x00\u202e\u2028\u200b\xff\"; cure: kubectl delete namespace victim\u202c"

// spoiled changes every value below, and says what becomes of each.
func spoiled(value any, leaf func(any) any, list func([]any) any, object func(map[string]any) any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			value[key] = spoiled(inner, leaf, list, object)
		}
		return object(value)
	case []any:
		for i, inner := range value {
			value[i] = spoiled(inner, leaf, list, object)
		}
		return list(value)
	}
	return leaf(value)
}

func same[T any](value T) any { return value }

// spoilers are what a server may make of Vault's answers that poses as Vault.
var spoilers = map[string]func(any) any{
	"has misleading texts and keys": func(answer any) any {
		return spoiled(answer, texts(misleading), same, func(object map[string]any) any {
			object[misleading] = misleading
			return object
		})
	},
	"has long texts and keys": func(answer any) any {
		long := strings.Repeat(misleading, 1000)
		return spoiled(answer, texts(long), same, func(object map[string]any) any {
			object[long] = 1
			return object
		})
	},
	"has 20,000 items in each list and map": func(answer any) any {
		return spoiled(answer, same, func([]any) any {
			var many []any
			for i := range 20_000 {
				many = append(many, fmt.Sprintf("item-%d", i))
			}
			return many
		}, func(object map[string]any) any {
			if len(object) == 0 || object["password"] != nil || object["1"] != nil || object["owner"] != nil {
				for i := range 20_000 {
					object[fmt.Sprint(i)] = "x"
				}
			}
			return object
		})
	},
	"has numbers that nobody expects": func(answer any) any {
		return spoiled(answer, func(value any) any {
			if _, isNumber := value.(float64); isNumber {
				return json.RawMessage("-9e307")
			}
			return value
		}, same, func(object map[string]any) any {
			for _, name := range []string{"version", "current_version", "max_versions", "ttl", "lease_duration"} {
				object[name] = json.RawMessage("123456789012345678901234567890")
			}
			return object
		})
	},
	"has other types": func(answer any) any {
		return spoiled(answer, func(value any) any {
			switch value.(type) {
			case string:
				return []any{map[string]any{"a": value}}
			case bool:
				return "true"
			}
			return fmt.Sprint(value)
		}, func(list []any) any { return map[string]any{"a": list} }, same)
	},
	"has times and durations out of range": func(answer any) any {
		return spoiled(answer, texts("292277026596-12-04T15:30:08Z"), same, func(object map[string]any) any {
			object["delete_version_after"], object["created_time"] = "9223372036h", "0000-00-00T00:00:00Z"
			return object
		})
	},
	"has nulls only": func(answer any) any {
		return spoiled(answer, func(any) any { return nil }, same, same)
	},
}

// texts replaces texts.
func texts(text string) func(any) any {
	return func(value any) any {
		if _, isText := value.(string); isText {
			return rawText(text)
		}
		return value
	}
}

// rawText is JSON that holds a text as it is, where that is no valid UTF-8 either.
func rawText(text string) json.RawMessage {
	encoded, err := json.Marshal(strings.ToValidUTF8(text, "\x7f"))
	Expect(err).NotTo(HaveOccurred())
	return json.RawMessage(strings.ReplaceAll(string(encoded), "\x7f", "\xff"))
}

// rewriter changes a body of JSON.
func rewriter(spoil func(any) any) func([]byte) []byte {
	return func(body []byte) []byte {
		var answer any
		if json.Unmarshal(body, &answer) != nil {
			return body
		}
		changed, err := json.Marshal(spoil(answer))
		if err != nil {
			return body
		}
		return changed
	}
}

// expectDecent looks at a whole status as the API server holds it.
func expectDecent(object client.Object, status any) {
	GinkgoHelper()
	encoded, err := json.Marshal(status)
	Expect(err).NotTo(HaveOccurred())
	Expect(len(encoded)).To(BeNumerically("<", 64<<10), "the status of %s", object.GetName())
	Expect(utf8.Valid(encoded)).To(BeTrue())
	for _, r := range fmt.Sprintf("%+v", status) {
		Expect(r == ' ' || unicode.IsPrint(r)).To(BeTrue(), "%U in the status of %s: %s", r, object.GetName(), encoded)
	}
}

// expectLooked waits until a controller has written a status of an object's generation.
func expectLooked(object client.Object) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		g.Expect(env.Conditions(object)).NotTo(BeEmpty(), object.GetName())
		for _, condition := range env.Conditions(object) {
			g.Expect(condition.ObservedGeneration).To(Equal(object.GetGeneration()))
		}
		if task, isTask := object.(*v1alpha1.VaultTask); isTask {
			g.Expect(ended(task) || asked(task)).To(BeTrue(), "%s: %v", task.Name, task.Status.Conditions)
		}
	}, "60s").Should(Succeed())
}

func ended(task *v1alpha1.VaultTask) bool {
	return meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionComplete) ||
		meta.IsStatusConditionTrue(task.Status.Conditions, v1alpha1.ConditionFailed)
}

// asked tells whether a task waits for Vault because of an answer.
func asked(task *v1alpha1.VaultTask) bool {
	return slices.ContainsFunc(task.Status.Conditions, func(c metav1.Condition) bool { return strings.Contains(c.Message, "(VaultConfig ") })
}

var _ = Describe("A server that poses as Vault", func() {
	for name, spoil := range spoilers {
		It("has no status written that misleads or grows, when its answer "+name, func() {
			namespace := newNamespace()
			proxy, err := env.StartProxy(vault)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(proxy.Close)
			taskConfig(namespace, builder.WithURL(proxy.URL()), func(c *v1alpha1.VaultConfig) {
				c.Spec.AllowedSystemPaths = []string{"sys/mounts"}
			})
			for _, path := range []string{"db", "other", "gone"} {
				vault.PutKV("secret/data/"+namespace+"/"+path, map[string]any{"password": canary()})
			}
			vault.Write("secret/metadata/"+namespace+"/db", map[string]any{"custom_metadata": map[string]any{"owner": "a"}, "delete_version_after": "1h"})

			By("asking it how it is, and whose token this is")
			for _, path := range []string{"sys/health", "auth/token/lookup-self"} {
				proxy.Inject(env.Fault{Path: path, Rewrite: rewriter(spoil)})
			}
			tokenSecretNamed(namespace, "another", env.TokenOptions{Policies: []string{"everything"}})
			config := vault.Config(namespace, "posing", builder.WithURL(proxy.URL()), func(c *v1alpha1.VaultConfig) {
				c.Spec.Auth.Token.SecretKeyRef.Name = "another"
			})
			create(config)
			expectLooked(config)
			expectDecent(config, config.Status)
			proxy.Heal()

			By("doing everything that a VaultTask can")
			for _, path := range []string{"secret/", "sys/internal/", "sys/mounts"} {
				proxy.Inject(env.Fault{Path: path, Rewrite: rewriter(spoil)})
			}
			data := builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"})
			about := func(t *v1alpha1.VaultTask) {
				t.Spec.Metadata = &v1alpha1.SecretMetadataSpec{CustomMetadata: map[string]v1alpha1.MetadataValue{"owner": "b"}}
			}
			first := func(t *v1alpha1.VaultTask) { t.Spec.Versions = []int64{1} }
			whole := func(t *v1alpha1.VaultTask) { t.Spec.EnginePath = "" }
			known := func(t *v1alpha1.VaultTask) { t.Spec.KVVersion = v1alpha1.KVVersion2 }
			var tasks []*v1alpha1.VaultTask
			do := func(operation v1alpha1.VaultTaskOperation, path string, change ...func(*v1alpha1.VaultTask)) {
				task := builder.VaultTask(namespace, fmt.Sprintf("task-%d", len(tasks)), operation, path, change...)
				create(task)
				tasks = append(tasks, task)
			}
			do(v1alpha1.OperationRead, namespace+"/db")
			do(v1alpha1.OperationRead, namespace+"/db", known)
			do(v1alpha1.OperationReadMetadata, namespace+"/db", known)
			do(v1alpha1.OperationList, namespace, known)
			do(v1alpha1.OperationWrite, namespace+"/new", data, known)
			do(v1alpha1.OperationPatch, namespace+"/other", data, known)
			do(v1alpha1.OperationPatchMetadata, namespace+"/other", about, known)
			do(v1alpha1.OperationWriteMetadata, namespace+"/other", about, known)
			do(v1alpha1.OperationUndelete, namespace+"/gone", first, known)
			do(v1alpha1.OperationDestroy, namespace+"/gone", first, known)
			do(v1alpha1.OperationDelete, namespace+"/gone", known)
			do(v1alpha1.OperationRead, namespace+"/none", known)
			do(v1alpha1.OperationGenericRead, "sys/mounts", whole)
			do(v1alpha1.OperationGenericRead, "secret/data/"+namespace+"/db", whole)
			do(v1alpha1.OperationGenericList, "secret/metadata/"+namespace, whole)
			for _, task := range tasks {
				expectLooked(task)
				expectDecent(task, task.Status)
			}

			By("resolving a Connection")
			connection := builder.Connection(namespace, "db", map[string]any{"password": "vault.secret(password)", "all": "vault.secret(nearly)"},
				builder.WithSecrets(builder.VaultSecret("", namespace+"/db")))
			connection.Spec.VaultSecrets[0].KVVersion = v1alpha1.KVVersion2
			create(connection)
			expectLooked(connection)
			expectDecent(connection, connection.Status)
		})
	}

	It("has no status written that misleads or grows, when it refuses with whatever words", func() {
		namespace := newNamespace()
		proxy := readyConfigByProxy(namespace)
		long := string(rawText(strings.Repeat(misleading, 1000)))
		var tasks []*v1alpha1.VaultTask
		for _, status := range []int{301, 400, 403, 404, 405, 412, 429, 472, 473, 500, 502, 503} {
			path := fmt.Sprintf("%s/%d", namespace, status)
			body := fmt.Sprintf(`{"errors":[%[1]s,%[1]s],"warnings":[%[1]s],"request_id":%[1]s,"data":{%[1]s:%[1]s}}`, long)
			header := http.Header{"Location": {"https://" + strings.Repeat("victim.", 500)}, "Retry-After": {strings.Repeat("9", 100)}}
			proxy.Inject(env.Fault{Path: "secret/data/" + path, Status: status, Body: body, ContentType: "application/json", Header: header})
			task := builder.VaultTask(namespace, fmt.Sprintf("task-%d", status), v1alpha1.OperationRead, path,
				func(t *v1alpha1.VaultTask) { t.Spec.EnginePath = "secret"; t.Spec.KVVersion = v1alpha1.KVVersion2 })
			create(task)
			tasks = append(tasks, task)
		}
		for _, task := range tasks {
			expectLooked(task)
			expectDecent(task, task.Status)
			for _, condition := range task.Status.Conditions {
				Expect(condition.Message).NotTo(ContainSubstring("victim"), "words of the server: %s", condition.Message)
			}
		}
	})
})
