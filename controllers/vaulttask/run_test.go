package vaulttask

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

func TestWhichFaultsEndATask(t *testing.T) {
	write := &v1alpha1.VaultTask{Spec: v1alpha1.VaultTaskSpec{Operation: v1alpha1.OperationWrite}}
	for name, test := range map[string]struct {
		fault   *fault.Fault
		called  bool
		final   bool
		resumed bool
	}{
		"an error in the task":                          {fault.Invalid(v1alpha1.ReasonInvalidExpression, ""), false, true, false},
		"a missing VaultConfig is waited for":           {fault.Wait(v1alpha1.ReasonConfigNotFound, ""), false, false, false},
		"a Vault that is down is waited for":            {fault.New(v1alpha1.ReasonVaultUnreachable, ""), true, false, false},
		"Vault's refusal of the operation":              {fault.Wait(v1alpha1.ReasonPermissionDenied, ""), true, true, false},
		"a refusal before the operation is waited for":  {fault.Wait(v1alpha1.ReasonPermissionDenied, ""), false, false, false},
		"a token that died meanwhile is waited for":     {fault.Wait(v1alpha1.ReasonAuthFailed, ""), true, false, false},
		"a Secret that is being replaced is waited for": {fault.Wait(v1alpha1.ReasonCredentialMissing, ""), true, false, false},
		"a refusal does not settle an earlier attempt":  {fault.Wait(v1alpha1.ReasonPermissionDenied, ""), true, false, true},
		"nor does an error in the spec":                 {fault.Invalid(v1alpha1.ReasonInvalidSpec, ""), true, false, true},
		"a check-and-set that was compared does":        {fault.Invalid(v1alpha1.ReasonCASMismatch, ""), true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(final(&run{called: test.called, resumed: test.resumed, task: write}, test.fault)).To(Equal(test.final))
		})
	}
}

func TestARunIsClaimedUntilItEnds(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	task := &v1alpha1.VaultTask{}
	g.Expect(claimed(task)).To(BeFalse())
	g.Expect(finished(task)).To(BeFalse())

	begin(task, &v1alpha1.TaskClaim{}, now)
	g.Expect(claimed(task)).To(BeTrue())
	g.Expect(finished(task)).To(BeFalse())

	complete(task, &v1alpha1.TaskResult{Path: "secret/data/a", Version: 1}, now)
	g.Expect(claimed(task)).To(BeFalse())
	g.Expect(finished(task)).To(BeTrue())

	task.Annotations = map[string]string{v1alpha1.AnnotationRerun: "again"}
	g.Expect(finished(task)).To(BeFalse(), "another run is asked for")
	g.Expect(claimed(task)).To(BeFalse(), "and nothing of it has begun")

	fail(task, fault.Invalid(v1alpha1.ReasonInvalidSpec, "no engine"), now)
	g.Expect(finished(task)).To(BeTrue(), "a run that fails before its claim is over too")
}

func TestSecretsAreComparedAsVaultKeepsThem(t *testing.T) {
	g := NewWithT(t)
	g.Expect(same(map[string]any{"a": int64(1), "b": []any{"x"}}, map[string]any{"b": []any{"x"}, "a": 1.0})).To(BeTrue())
	g.Expect(same(map[string]any{"a": "1"}, map[string]any{"a": 1})).To(BeFalse())
}
