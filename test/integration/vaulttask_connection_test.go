package integration

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
	"sallyport.dev/sallyport/test/env"
)

var _ = Describe("A Connection of type VAULT that is edited under a scheduled VaultTask", func() {
	It("gets nothing of the task until somebody runs it again on purpose", func() {
		namespace := newNamespace()
		taskConfig(namespace)
		token := vault.Token(env.TokenOptions{Policies: []string{"everything"}})
		remember(token)
		vault.PutKV("secret/data/"+namespace+"/vault", map[string]any{"token": token})
		connection := builder.Connection(namespace, "vault", map[string]any{
			"url": vault.URL(), "caCertificate": vault.CACertificate(), "token": "vault.secret(main:" + namespace + "/vault.token)",
		}, builder.WithType("VAULT"))
		task := builder.VaultTask(namespace, "rotate", v1alpha1.OperationWrite, namespace+"/rotated", func(t *v1alpha1.VaultTask) {
			t.Spec.TaskTarget = v1alpha1.TaskTarget{ConnectionRef: &v1alpha1.ConnectionReference{Name: "vault"}}
			t.Spec.EnginePath, t.Spec.Generate, t.Spec.Overwrite = "secret", []v1alpha1.GeneratedValue{{Key: "password"}}, new(true)
			t.Spec.Schedule = &v1alpha1.TaskSchedule{Cron: "@every 1m"}
		})
		create(connection, task)
		// due sets the clock back: a schedule runs once a minute at most, and an edit has the task looked at.
		edits := int32(0)
		due := func() {
			GinkgoHelper()
			edits++
			older := fmt.Appendf(nil, `{"status":{"lastScheduleTime":%q}}`, time.Now().Add(-61*time.Second).UTC().Format(time.RFC3339))
			Expect(cp.Client.Status().Patch(ctx, task.DeepCopy(), client.RawPatch(types.MergePatchType, older))).To(Succeed())
			update(task, func(t *v1alpha1.VaultTask) { t.Spec.BackoffLimit = new(edits) })
		}
		versions := func() int {
			metadata, err := vault.Client().KVv2("secret").GetMetadata(ctx, namespace+"/rotated")
			if err != nil {
				return 0
			}
			return metadata.CurrentVersion
		}
		due()
		Eventually(versions).Should(Equal(1))

		By("a new address, which is a thief's")
		var asked atomic.Int64
		thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		DeferCleanup(thief.Close)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: thief.Certificate().Raw})
		update(connection, func(c *v1alpha1.Connection) {
			c.Spec.Value["url"], c.Spec.Value["caCertificate"] = builder.JSON(map[string]any{"x": thief.URL})["x"],
				builder.JSON(map[string]any{"x": string(ca)})["x"]
		})
		due()
		expectCondition(task, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConnectionChanged,
			ContainSubstring(v1alpha1.AnnotationRerun))
		due()
		Consistently(func() []any { return []any{asked.Load(), versions()} }, "2s").Should(Equal([]any{int64(0), 1}))

		By("and neither if it is as it was, for nobody knows what it was meanwhile")
		update(connection, func(c *v1alpha1.Connection) {
			c.Spec.Value["url"] = builder.JSON(map[string]any{"x": vault.URL()})["x"]
			c.Spec.Value["caCertificate"] = builder.JSON(map[string]any{"x": vault.CACertificate()})["x"]
		})
		due()
		expectCondition(task, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonConnectionChanged)
		Consistently(versions, "1s").Should(Equal(1))

		By("until it is run again, and at its times from then on")
		update(task, func(t *v1alpha1.VaultTask) {
			t.Annotations = map[string]string{v1alpha1.AnnotationRerun: "looked at it"}
		})
		// The clock that was set back may have another time of the schedule due at once.
		Eventually(versions).Should(BeNumerically(">=", 2))
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(task), task)).To(Succeed())
			g.Expect(task.Status.CompletionTime).NotTo(BeNil())
		}).Should(Succeed())
		before := versions()
		due()
		Eventually(versions).Should(BeNumerically(">", before))
		Expect(asked.Load()).To(BeZero())
	})
})
