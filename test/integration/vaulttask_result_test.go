package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// ageTool returns a command of the stock age: the machine's, or the one that hack/tools.sh builds.
func ageTool(name string) *exec.Cmd {
	GinkgoHelper()
	program, err := exec.LookPath(name)
	if err != nil {
		program = filepath.Join(env.Cache(), "bin", name)
	}
	Expect(program).To(BeAnExistingFile(), "run hack/tools.sh %s", name)
	return exec.Command(program)
}

var _ = Describe("The result of a VaultTask", func() {
	var (
		namespace      string
		key, recipient string
	)

	BeforeEach(func() {
		namespace = newNamespace()
		taskConfig(namespace, func(c *v1alpha1.VaultConfig) { c.Spec.AllowWrappedResults = new(true) })
		key = filepath.Join(GinkgoT().TempDir(), "key.txt")
		generate := ageTool("age-keygen")
		generate.Args = append(generate.Args, "-o", key)
		output, err := generate.CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(output))
		content, err := os.ReadFile(key)
		Expect(err).NotTo(HaveOccurred())
		_, recipient, _ = strings.Cut(string(content), "public key: ")
		recipient, _, _ = strings.Cut(recipient, "\n")
	})

	sealed := func(t *v1alpha1.VaultTask) {
		t.Spec.Result = &v1alpha1.TaskResultRequest{SealTo: recipient}
	}
	opened := func(t *v1alpha1.VaultTask) map[string]any {
		GinkgoHelper()
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		decrypt := ageTool("age")
		decrypt.Args = append(decrypt.Args, "--decrypt", "--identity", key)
		decrypt.Stdin = strings.NewReader(t.Status.Result.Sealed)
		plain, err := decrypt.Output()
		Expect(err).NotTo(HaveOccurred())
		values := map[string]any{}
		Expect(json.Unmarshal(plain, &values)).To(Succeed())
		return values
	}

	It("is sealed so that the stock age command opens it", func() {
		password := canary()
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"password": password, "port": 1521})
		Expect(opened(builder.VaultTask(namespace, "read", v1alpha1.OperationRead, namespace+"/db", sealed))).
			To(And(HaveKeyWithValue("password", password), HaveKeyWithValue("port", BeEquivalentTo(1521))))

		By("with what was generated")
		made := opened(builder.VaultTask(namespace, "make", v1alpha1.OperationWrite, namespace+"/made", sealed,
			func(t *v1alpha1.VaultTask) { t.Spec.Generate = []v1alpha1.GeneratedValue{{Key: "password"}} }))
		remember(made["password"].(string))
		secret, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/made")
		Expect(err).NotTo(HaveOccurred())
		Expect(made).To(Equal(secret.Data))

		By("with what Vault answered")
		Expect(opened(builder.VaultTask(namespace, "random", v1alpha1.OperationGenericRead, "secret/config", sealed))).To(HaveKey("max_versions"))
	})

	It("is not sealed to a key that is none", func() {
		t := builder.VaultTask(namespace, "bad", v1alpha1.OperationWrite, namespace+"/bad", builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}),
			func(t *v1alpha1.VaultTask) {
				t.Spec.Result = &v1alpha1.TaskResultRequest{SealTo: recipient[:len(recipient)-4] + "qqqq"}
			})
		create(t)
		expectCondition(t, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonInvalidSpec, ContainSubstring("this is no age recipient"))
		_, err := vault.Client().KVv2("secret").Get(ctx, namespace+"/bad")
		Expect(err).To(HaveOccurred(), "nothing was written")
	})

	It("is wrapped where the VaultConfig allows it", func() {
		vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"password": canary()})
		wrap := func(t *v1alpha1.VaultTask) {
			t.Spec.Result = &v1alpha1.TaskResultRequest{Wrap: &v1alpha1.WrapRequest{TTL: &metav1.Duration{Duration: 60e9}}}
		}
		t := builder.VaultTask(namespace, "wrap", v1alpha1.OperationRead, namespace+"/db", wrap)
		create(t)
		expectCondition(t, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		unwrapped, err := vault.Client().Logical().UnwrapWithContext(ctx, t.Status.Result.Wrapped.Token)
		Expect(err).NotTo(HaveOccurred())
		Expect(unwrapped.Data).To(HaveKey("password"))
		Expect(t.Status.Result.Wrapped.ExpireTime).NotTo(BeNil())

		By("and nowhere else")
		create(vault.Config(namespace, "strict"))
		strict := builder.VaultTask(namespace, "strict", v1alpha1.OperationRead, namespace+"/db", wrap, builder.WithConfig("strict"))
		create(strict)
		expectCondition(strict, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonPathNotAllowed, ContainSubstring("allowWrappedResults"))
	})
})
