package e2e

import (
	"bytes"
	"context"
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

var _ = Describe("A VaultTask", Ordered, func() {
	var (
		t        *tenant
		password string
	)

	task := func(name string, operation v1alpha1.VaultTaskOperation, path string) *v1alpha1.VaultTask {
		return builder.VaultTask(t.namespace, name, operation, t.namespace+"/"+path)
	}
	expectComplete := func(ctx context.Context, done *v1alpha1.VaultTask) {
		GinkgoHelper()
		expectCondition(ctx, done, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
		expectReady(ctx, done)
		content, err := json.Marshal(done)
		Expect(err).NotTo(HaveOccurred())
		findings, _, err := scanner(canaries.everywhere()...).ScanReader(bytes.NewReader(content))
		Expect(err).NotTo(HaveOccurred())
		Expect(findings).To(BeEmpty(), "secrets in the VaultTask")
	}

	BeforeAll(func(ctx SpecContext) {
		t = newReadyTenant(ctx)
		password = newSecret("password")
		t.put(ctx, "source", map[string]any{"password": password})
	}, NodeTimeout(eventual))

	It("copies a secret inside Vault and says which version it wrote", func(ctx SpecContext) {
		write := task("write", v1alpha1.OperationWrite, "copy")
		write.Spec.Data = map[string]v1alpha1.TaskValue{
			"host":     "db.example.com",
			"password": v1alpha1.TaskValue(`vault.secret(main:"` + t.namespace + `/source".password)`),
		}
		create(ctx, write)
		expectComplete(ctx, write)
		Expect(write.Status.Result).NotTo(BeNil())
		Expect(write.Status.Result.Path).To(Equal(engine + "/data/" + t.namespace + "/copy"))
		Expect(write.Status.Result.Version).To(BeNumerically("==", 1))
		Expect(write.Status.Result.Keys).To(ConsistOf("host", "password"))

		copied, err := vault.KVv2(engine).Get(ctx, t.namespace+"/copy")
		Expect(err).NotTo(HaveOccurred())
		Expect(copied.Data).To(Equal(map[string]any{"host": "db.example.com", "password": password}))
		Expect(copied.VersionMetadata.Version).To(Equal(1))
	}, SpecTimeout(eventual))

	It("reads a secret and says its version and its keys, not its values", func(ctx SpecContext) {
		read := task("read", v1alpha1.OperationRead, "copy")
		create(ctx, read)
		expectComplete(ctx, read)
		Expect(read.Status.Result).NotTo(BeNil())
		Expect(read.Status.Result.Version).To(BeNumerically("==", 1))
		Expect(read.Status.Result.Keys).To(ConsistOf("host", "password"))
		Expect(read.Status.Result.CreatedTime).NotTo(BeNil())
	}, SpecTimeout(eventual))

	It("runs once more when it is asked to, and not otherwise", func(ctx SpecContext) {
		again := task("again", v1alpha1.OperationWrite, "again")
		again.Spec.Data = map[string]v1alpha1.TaskValue{"host": "db.example.com"}
		create(ctx, again)
		expectComplete(ctx, again)
		change(ctx, again, func(v *v1alpha1.VaultTask) { v.Annotations = map[string]string{v1alpha1.AnnotationRerun: "1"} })
		Eventually(ctx, func(g Gomega) {
			g.Expect(api.Get(ctx, t.key("again"), again)).To(Succeed())
			g.Expect(again.Status.Result).NotTo(BeNil())
			g.Expect(again.Status.Result.Version).To(BeNumerically("==", 2))
		}).WithTimeout(soon).Should(Succeed())
		change(ctx, again, func(v *v1alpha1.VaultTask) { v.Annotations["other"] = "1" })
		Consistently(ctx, func() (int, error) {
			written, err := vault.KVv2(engine).GetMetadata(ctx, t.namespace+"/again")
			if err != nil {
				return 0, err
			}
			return written.CurrentVersion, nil
		}).WithTimeout(refreshInterval / 2).Should(Equal(2))
	}, SpecTimeout(eventual))

	It("fails with a sentence that says why", func(ctx SpecContext) {
		read := task("missing", v1alpha1.OperationRead, "missing")
		create(ctx, read)
		Expect(expectCondition(ctx, read, v1alpha1.ConditionFailed, metav1.ConditionTrue, v1alpha1.ReasonSecretNotFound).Message).
			To(ContainSubstring(engine + "/data/" + t.namespace + "/missing"))
	}, SpecTimeout(eventual))
})
