package status

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestTransitionTimesMoveOnlyOnTransitions(t *testing.T) {
	g := NewWithT(t)
	long := metav1.NewTime(time.Unix(1_700_000_000, 0))
	conditions := []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Old",
		LastTransitionTime: long}}
	Ready(&conditions, 2, "still well")
	g.Expect(meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).LastTransitionTime).To(Equal(long))
	NotReady(&conditions, 2, fault.Transient(v1alpha1.ReasonVaultUnreachable, "gone"))
	g.Expect(meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).LastTransitionTime).NotTo(Equal(long))
}

func TestReconcilingAndStalledExcludeEachOther(t *testing.T) {
	g := NewWithT(t)
	var conditions []metav1.Condition
	NotReady(&conditions, 1, fault.Terminal(v1alpha1.ReasonInvalidSpec, "bad"))
	g.Expect(meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	NotReady(&conditions, 2, fault.Waiting(v1alpha1.ReasonConfigNotFound, "none"))
	g.Expect(meta.FindStatusCondition(conditions, v1alpha1.ConditionStalled)).To(BeNil())
	g.Expect(meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReconciling)).To(BeTrue())
	Off(&conditions, 3, fault.Waiting(v1alpha1.ReasonConfigDisabled, "off"))
	g.Expect(conditions).To(HaveLen(1))
	g.Expect(meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionSuspended)).To(BeTrue())
	NotReady(&conditions, 4, fault.Waiting(v1alpha1.ReasonAuthFailed, "refused"))
	g.Expect(meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	g.Expect(meta.FindStatusCondition(conditions, v1alpha1.ConditionSuspended)).To(BeNil())
}

func TestMessagesAreBoundedAndStayText(t *testing.T) {
	g := NewWithT(t)
	var conditions []metav1.Condition
	Ready(&conditions, 1, strings.Repeat("ä", maxMessage))
	g.Expect(len(conditions[0].Message)).To(BeNumerically("<=", maxMessage))
	g.Expect(utf8.ValidString(conditions[0].Message)).To(BeTrue())
	note := Note(conditions[0].Message)
	g.Expect(len(note)).To(BeNumerically("<=", maxNote))
	g.Expect(utf8.ValidString(note)).To(BeTrue())
}
