package vaulttask

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestAConnectionThatWasChangedIsUsedAgainOnPurposeOnly(t *testing.T) {
	g := NewWithT(t)
	connection := &v1alpha1.Connection{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "vault", UID: "a", Generation: 3}}
	task := &v1alpha1.VaultTask{}
	g.Expect(sameConnection(task, connection)).To(Succeed(), "nothing was used yet")
	task.Status.Connection = stateOf(connection)
	g.Expect(sameConnection(task, connection)).To(Succeed())

	for _, change := range []func(*v1alpha1.Connection){
		func(c *v1alpha1.Connection) { c.Generation++ },
		func(c *v1alpha1.Connection) { c.UID = "b" },
	} {
		changed := connection.DeepCopy()
		change(changed)
		err := sameConnection(task, changed)
		g.Expect(fault.Is(err, v1alpha1.ReasonConnectionChanged)).To(BeTrue())
		g.Expect(fault.From(err).Class).To(Equal(fault.ClassWaiting))

		claimed := task.DeepCopy()
		claimed.Status.Claim = &v1alpha1.TaskClaim{}
		g.Expect(fault.Is(sameConnection(claimed, changed), v1alpha1.ReasonOutcomeUnknown)).To(BeTrue(),
			"what was begun is not repeated elsewhere")

		scheduled := task.DeepCopy()
		begin(scheduled, time.Now(), time.Now())
		g.Expect(sameConnection(scheduled, changed)).NotTo(Succeed(), "the time of a schedule is nobody's purpose")

		again := task.DeepCopy()
		again.Annotations = map[string]string{v1alpha1.AnnotationRerun: "1"}
		begin(again, time.Time{}, time.Now())
		g.Expect(sameConnection(again, changed)).To(Succeed())
	}
}
