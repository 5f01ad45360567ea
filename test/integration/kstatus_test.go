package integration

import (
	"os"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

// expectKStatus computes what Flux and helm --wait make of an object as the API server has it.
func expectKStatus(object client.Object, expected kstatus.Status) {
	GinkgoHelper()
	kind, err := cp.Client.GroupVersionKindFor(object)
	Expect(err).NotTo(HaveOccurred())
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(kind)
	Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(object), stored)).To(Succeed())
	result, err := kstatus.Compute(stored)
	Expect(err).NotTo(HaveOccurred())
	Expect(result.Status).To(Equal(expected), "%s: %v", result.Message, env.Conditions(object))

	var status struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(stored.Object, &status)).To(Succeed())
	sentence := expectSentenceWhereItIsRead(status.Status.Conditions)
	if expected != kstatus.CurrentStatus { // of what is current kstatus says nothing
		Expect(result.Message).To(Equal(sentence))
	}
}

// expectSentenceWhereItIsRead makes sure that the conditions which have an object's sentence are those that
// docs/reference/reasons.md lists for what the object is, and returns the sentence.
func expectSentenceWhereItIsRead(conditions []metav1.Condition) (sentence string) {
	GinkgoHelper()
	is := func(condition string) bool { return meta.IsStatusConditionTrue(conditions, condition) }
	state := "ready"
	switch {
	case is(v1alpha1.ConditionSuspended):
		state = "switched off"
	case is(v1alpha1.ConditionFailed):
		state = "failed"
	case is(v1alpha1.ConditionComplete):
		state = "done"
	case is(v1alpha1.ConditionStalled):
		state = "not ready, which somebody must cure"
	case is(v1alpha1.ConditionReconciling):
		state = "not ready, which may pass by itself"
	}
	page, err := os.ReadFile("../../docs/reference/reasons.md")
	Expect(err).NotTo(HaveOccurred())
	_, row, found := strings.Cut(string(page), "\n| "+state+" | ")
	Expect(found).To(BeTrue(), "no row for what is %s", state)
	cell, _, _ := strings.Cut(row, " |")
	documented := strings.Split(strings.ReplaceAll(cell, "`", ""), ", ")

	first := meta.FindStatusCondition(conditions, documented[0])
	Expect(first).NotTo(BeNil(), "%v", conditions)
	var having []string
	for _, condition := range conditions {
		if strings.Contains(condition.Message, first.Message) {
			having = append(having, condition.Type)
		}
	}
	Expect(having).To(ConsistOf(documented), "%v", conditions)
	return first.Message
}

// The rows are what docs/gitops.md says of Flux and Helm, for status that the controllers wrote.
var _ = Describe("To kstatus", func() {
	const (
		current, inProgress, failed = kstatus.CurrentStatus, kstatus.InProgressStatus, kstatus.FailedStatus
		isTrue, isFalse             = metav1.ConditionTrue, metav1.ConditionFalse
	)
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
	})

	config := func(options ...func(*v1alpha1.VaultConfig)) *v1alpha1.VaultConfig {
		return vault.Config(namespace, "main", options...)
	}
	disabled := func(c *v1alpha1.VaultConfig) { c.Spec.Enabled = new(false) }
	token := func() { tokenSecret(namespace, env.TokenOptions{Policies: []string{"all-secrets"}}) }
	connection := func(reference string) *v1alpha1.Connection {
		return builder.Connection(namespace, "db", map[string]any{"user": reference}, builder.WithSecret(namespace+"/db"))
	}
	stored := func() { vault.PutKV("secret/data/"+namespace+"/db", map[string]any{"user": canary()}) }
	write := func(options ...func(*v1alpha1.VaultTask)) *v1alpha1.VaultTask {
		options = append([]func(*v1alpha1.VaultTask){
			builder.WithData(map[string]v1alpha1.TaskValue{"a": "b"}),
			func(t *v1alpha1.VaultTask) { t.Spec.CAS = new(int64(0)) },
		}, options...)
		return builder.VaultTask(namespace, "write", v1alpha1.OperationWrite, namespace+"/db", options...)
	}

	DescribeTable("what the controllers say of an object is", func(
		expected kstatus.Status, condition string, status metav1.ConditionStatus, reason string, build func() client.Object,
	) {
		object := build()
		create(object)
		expectCondition(object, condition, status, reason)
		expectKStatus(object, expected)
	},
		Entry("current: a VaultConfig that is ready", current, v1alpha1.ConditionReady, isTrue, v1alpha1.ReasonSucceeded,
			func() client.Object { token(); return config() }),
		Entry("failed: a VaultConfig with a wrong token", failed, v1alpha1.ConditionReady, isFalse, v1alpha1.ReasonAuthFailed,
			func() client.Object {
				create(builder.TokenSecret(namespace, builder.TokenSecretName, canary()))
				return config()
			}),
		Entry("in progress: a VaultConfig whose Secret is not there yet", inProgress, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonCredentialMissing, func() client.Object { return config() }),
		Entry("in progress: a VaultConfig whose Vault does not answer", inProgress, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonVaultUnreachable, func() client.Object { token(); return config(builder.WithURL("https://127.0.0.1:1")) }),
		Entry("current: a VaultConfig that is switched off", current, v1alpha1.ConditionSuspended, isTrue,
			v1alpha1.ReasonConfigDisabled, func() client.Object { token(); return config(disabled) }),

		Entry("current: a Connection that is ready", current, v1alpha1.ConditionReady, isTrue, v1alpha1.ReasonSucceeded,
			func() client.Object { readyConfig(namespace); stored(); return connection("vault.secret(user)") }),
		Entry("in progress: a Connection whose secret is missing", inProgress, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonSecretNotFound, func() client.Object { readyConfig(namespace); return connection("vault.secret(user)") }),
		Entry("in progress: a Connection whose VaultConfig is not there yet", inProgress, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonConfigNotFound, func() client.Object { return connection("vault.secret(user)") }),
		Entry("failed: a Connection that needs a VaultConfig that is switched off", failed, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonConfigDisabled, func() client.Object {
				token()
				create(config(disabled))
				return connection("vault.secret(user)")
			}),
		Entry("failed: a Connection with an expression that is none", failed, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonInvalidExpression, func() client.Object { readyConfig(namespace); return connection("vault.secret(user") }),

		Entry("current: a VaultTask that is done", current, v1alpha1.ConditionComplete, isTrue, v1alpha1.ReasonSucceeded,
			func() client.Object { readyConfig(namespace); return write() }),
		Entry("failed: a VaultTask that failed", failed, v1alpha1.ConditionFailed, isTrue, v1alpha1.ReasonCASMismatch,
			func() client.Object { readyConfig(namespace); stored(); return write() }),
		Entry("in progress: a VaultTask whose VaultConfig is not there yet", inProgress, v1alpha1.ConditionReady, isFalse,
			v1alpha1.ReasonConfigNotFound, func() client.Object { return write() }),
		Entry("current: a VaultTask that is suspended", current, v1alpha1.ConditionSuspended, isTrue, v1alpha1.ReasonSuspended,
			func() client.Object { return write(func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) }) }),
	)

	It("and to kubectl, the sentence is where each looks for it", func() {
		for _, kind := range []string{"connections", "vaultconfigs", "vaulttasks"} {
			file, err := os.ReadFile("../../config/crd/bases/sallyport.dev_" + kind + ".yaml")
			Expect(err).NotTo(HaveOccurred())
			var crd apiextensionsv1.CustomResourceDefinition
			Expect(yaml.Unmarshal(file, &crd)).To(Succeed())
			columns := map[string]string{}
			for _, column := range crd.Spec.Versions[0].AdditionalPrinterColumns {
				columns[column.Name] = column.JSONPath
			}
			for name, field := range map[string]string{"Ready": "status", "Reason": "reason", "Message": "message"} {
				Expect(columns).To(HaveKeyWithValue(name, `.status.conditions[?(@.type=="`+v1alpha1.ConditionReady+`")].`+field), kind)
			}
		}
	})

	It("an object that was cured is current again", func() {
		readyConfig(namespace)
		c := connection("vault.secret(user")
		create(c)
		expectCondition(c, v1alpha1.ConditionStalled, isTrue, v1alpha1.ReasonInvalidExpression)
		expectKStatus(c, failed)
		stored()
		update(c, func(c *v1alpha1.Connection) {
			c.Spec.Value = builder.JSON(map[string]any{"user": "vault.secret(user)"})
		})
		expectCondition(c, v1alpha1.ConditionReady, isTrue, v1alpha1.ReasonSucceeded)
		expectKStatus(c, current)
	})
})
