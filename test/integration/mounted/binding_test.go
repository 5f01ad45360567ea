//go:build linux

package mounted

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// clientProgram is what docs/reference/connection.md tells an author to write, and prints what the library says.
const clientProgram = `const [type, client] = process.argv.slice(1)
process.stdout.write(JSON.stringify(require('kube-service-bindings').getBinding(type, client)))`

// readBinding has the stock library read the one binding below root. Its answer holds secrets: nothing of it may get
// into a failure's text.
func readBinding(root, service, library string) map[string]any {
	GinkgoHelper()
	Expect(os.Getenv("NODE_PATH")).NotTo(BeEmpty(), "NODE_PATH is not set; run the tests with: make test-integration")
	command := exec.CommandContext(ctx, "node", "-e", clientProgram, service, library)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_PATH=" + os.Getenv("NODE_PATH"), "SERVICE_BINDING_ROOT=" + root}
	var answer, complaints bytes.Buffer
	command.Stdout, command.Stderr = &answer, &complaints
	Expect(command.Run()).To(Succeed(), "%s", &complaints)
	binding := map[string]any{}
	if json.Unmarshal(answer.Bytes(), &binding) != nil {
		Fail("the library's answer is no JSON object")
	}
	return binding
}

// expectBinding compares without showing what it compares.
func expectBinding(found, wanted map[string]any) {
	GinkgoHelper()
	var differ []string
	for key := range wanted {
		if !reflect.DeepEqual(found[key], wanted[key]) {
			differ = append(differ, key)
		}
	}
	for key := range found {
		if _, ok := wanted[key]; !ok {
			differ = append(differ, key)
		}
	}
	slices.Sort(differ)
	Expect(differ).To(BeEmpty(), "these keys of the binding are not what Vault holds")
}

var _ = Describe("A client library of Service Bindings", func() {
	// hostile is what breaks who puts a value through a shell, a template, JSON or YAML on its way.
	hostile := func() string {
		return newSecret() + " '\"`\\ $HOME ${x} $(id) {{ .x }} #: & vault.secret(username)\n\tsecond\r\nline \u00fc\u20ac\U0001f511\u2028 \\n%s" + rand.Text()
	}

	// bindingRoot mounts the Connection and returns a directory with its volume as the only binding, as a pod's
	// volumeMounts would make it.
	bindingRoot := func(c *v1alpha1.Connection) string {
		GinkgoHelper()
		create(c)
		expectReady(c, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		_, dir := mount(c.Namespace, c.Name)
		root := GinkgoT().TempDir()
		Expect(os.Symlink(dir, filepath.Join(root, c.Name))).To(Succeed())
		return root
	}

	DescribeTable("reads a mounted Connection as it is, with the values that Vault holds",
		func(service, library, bindingType string, value map[string]any, wanted func(username, password string) map[string]any) {
			namespace := newNamespace()
			username, password := hostile(), hostile()
			vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"username": username, "password": password})
			c := builder.Connection(namespace, "backend", value, builder.WithSecret(namespace+"/app"), builder.WithShortestRefresh)
			c.Spec.Type, c.Spec.Provider = bindingType, "bookshop"
			root := bindingRoot(c)
			expectBinding(readBinding(root, service, library), wanted(username, password))

			By("a new password in Vault")
			next := hostile()
			vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"username": username, "password": next})
			Eventually(func() bool {
				return reflect.DeepEqual(readBinding(root, service, library), wanted(username, next))
			}).Should(BeTrue(), "the library does not see the new password")
		},
		Entry("pg", "POSTGRESQL", "pg", "postgresql", map[string]any{
			"host": "db.example.com", "port": 5432, "database": "shop", "username": "vault.secret(username)", "password": "vault.secret(password)",
		}, func(username, password string) map[string]any {
			return map[string]any{"type": "postgresql", "provider": "bookshop", "host": "db.example.com", "port": "5432", "database": "shop",
				"user": username, "password": password}
		}),
		Entry("redis", "REDIS", "redis", "redis", map[string]any{
			"host": "cache.example.com", "port": 6379, "username": "vault.secret(username)", "password": "vault.secret(password)",
		}, func(username, password string) map[string]any {
			return map[string]any{"provider": "bookshop", "socket": map[string]any{"host": "cache.example.com", "port": "6379"},
				"username": username, "password": password}
		}),
		Entry("kafkajs", "KAFKA", "kafkajs", "kafka", map[string]any{
			"bootstrapServers": "kafka.example.com:9093", "securityProtocol": "SASL_SSL", "saslMechanism": "SCRAM-SHA-512",
			"user": "vault.secret(username)", "password": "vault.secret(password)",
		}, func(username, password string) map[string]any {
			return map[string]any{"brokers": []any{"kafka.example.com:9093"}, "ssl": true,
				"sasl": map[string]any{"mechanism": "scram-sha-512", "username": username, "password": password}}
		}),
	)

	It("finds nothing where the Connection has another type", func() {
		namespace := newNamespace()
		vault.PutKV("secret/data/"+namespace+"/app", map[string]any{"password": hostile()})
		c := builder.Connection(namespace, "backend", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/app"), builder.WithShortestRefresh)
		c.Spec.Type = "mysql"
		command := exec.CommandContext(ctx, "node", "-e", clientProgram, "POSTGRESQL", "pg")
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_PATH=" + os.Getenv("NODE_PATH"), "SERVICE_BINDING_ROOT=" + bindingRoot(c)}
		var answer, complaints bytes.Buffer
		command.Stdout, command.Stderr = &answer, &complaints
		Expect(command.Run()).To(HaveOccurred())
		Expect(answer.Len()).To(BeZero())
		Expect(complaints.String()).To(ContainSubstring("No Binding Found"))
	})
})
