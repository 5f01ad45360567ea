package vaulttask

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func about(kind, name string) *fault.Fault {
	return fault.About(fault.Terminal(v1alpha1.ReasonInvalidSpec, ""), fault.Subject{Kind: kind, Namespace: "shop", Name: name})
}

func TestWhichFaultsEndATask(t *testing.T) {
	write := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db")
	for name, test := range map[string]struct {
		fault   *fault.Fault
		called  bool
		final   bool
		resumed bool
	}{
		"an error in the task":                                 {fault.Terminal(v1alpha1.ReasonInvalidExpression, ""), false, true, false},
		"an error in its own inline Vault":                     {about(fault.KindVaultTask, "rotate"), false, true, false},
		"an error in the VaultConfig is waited for":            {about(fault.KindVaultConfig, "main"), false, false, false},
		"and so is one in the Connection":                      {about(fault.KindConnection, "vault"), true, false, false},
		"a missing VaultConfig is waited for":                  {fault.Waiting(v1alpha1.ReasonConfigNotFound, ""), false, false, false},
		"a Vault that is down is waited for":                   {fault.Transient(v1alpha1.ReasonVaultUnreachable, ""), true, false, false},
		"Vault's refusal of the operation":                     {fault.Waiting(v1alpha1.ReasonPermissionDenied, ""), true, true, false},
		"a refusal before the operation is waited for":         {fault.Waiting(v1alpha1.ReasonPermissionDenied, ""), false, false, false},
		"a path that the VaultConfig does not allow":           {fault.Waiting(v1alpha1.ReasonPathNotAllowed, ""), false, false, false},
		"a token that died meanwhile is waited for":            {fault.Waiting(v1alpha1.ReasonAuthFailed, ""), true, false, false},
		"a Secret that is being replaced is waited for":        {fault.Waiting(v1alpha1.ReasonCredentialMissing, ""), true, false, false},
		"a refusal does not end what an earlier attempt began": {fault.Waiting(v1alpha1.ReasonPermissionDenied, ""), true, false, true},
		"nor does an error in the spec":                        {fault.Terminal(v1alpha1.ReasonInvalidSpec, ""), true, false, true},
		"a check-and-set that was compared does":               {fault.Terminal(v1alpha1.ReasonCASMismatch, ""), true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			attempt := &attempt{called: test.called, resumed: test.resumed, task: write}
			NewWithT(t).Expect(attempt.classify(test.fault) == nil).To(Equal(test.final))
		})
	}
}

func TestARunIsDueUntilItEnds(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	task := &v1alpha1.VaultTask{}
	g.Expect(due(task, now).action).To(Equal(run))
	g.Expect(fresh(task)).To(BeTrue())

	begin(task, time.Time{}, now)
	task.Status.Claim = &v1alpha1.TaskClaim{ID: "one"}
	g.Expect(due(task, now).action).To(Equal(run))
	g.Expect(fresh(task)).To(BeFalse())

	task.Annotations = map[string]string{v1alpha1.AnnotationRerun: "again"}
	g.Expect(fresh(task)).To(BeFalse(), "what has begun is brought to its end first")

	complete(task, &outcome{result: &v1alpha1.TaskResult{Path: "secret/data/a", Version: 1}, message: "done"}, now)
	g.Expect(due(task, now).action).To(Equal(run), "then comes the other run")
	g.Expect(fresh(task)).To(BeTrue())

	begin(task, time.Time{}, now)
	g.Expect(task.Status.Result).To(BeNil())
	fail(task, fault.Terminal(v1alpha1.ReasonInvalidSpec, "no engine"), now)
	g.Expect(due(task, now)).To(Equal(decision{action: rest}), "a run that fails before its claim is over too")
}

func TestSuspendHoldsWhatHasNotBegun(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db",
		func(t *v1alpha1.VaultTask) { t.Spec.Suspend = new(true) })
	g.Expect(due(task, now).action).To(Equal(keepSuspended))
	begin(task, time.Time{}, now)
	task.Status.Claim = &v1alpha1.TaskClaim{ID: "one"}
	g.Expect(due(task, now).action).To(Equal(run))
}

func TestAFinishedTaskIsRemovedAfterItsTime(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db", func(t *v1alpha1.VaultTask) {
		t.Spec.TTLSecondsAfterFinished = new(int32(60))
	})
	begin(task, time.Time{}, now)
	complete(task, &outcome{result: &v1alpha1.TaskResult{}}, now)
	g.Expect(due(task, now).action).To(Equal(rest))
	g.Expect(due(task, now).after).To(BeNumerically("~", time.Minute, time.Second))
	g.Expect(due(task, now.Add(time.Minute)).action).To(Equal(remove))
}

func TestATaskThatASyncWouldCreateAnewStays(t *testing.T) {
	now := time.Now()
	tests := []struct {
		name                string
		labels, annotations map[string]string
		tool                string
	}{
		{name: "nobody's"},
		{name: "Argo CD's", annotations: map[string]string{"argocd.argoproj.io/tracking-id": "app:x"}, tool: "Argo CD"},
		{name: "a hook of Argo CD", annotations: map[string]string{
			"argocd.argoproj.io/tracking-id": "app:x", "argocd.argoproj.io/hook": "Sync"}},
		{name: "Flux's", labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "app"}, tool: "Flux"},
		{name: "of a release that Flux installed", labels: map[string]string{"helm.toolkit.fluxcd.io/name": "app"}, tool: "Flux"},
		{name: "Helm's", annotations: map[string]string{"meta.helm.sh/release-name": "app"}, tool: "Helm"},
		{name: "a hook of Helm", annotations: map[string]string{
			"meta.helm.sh/release-name": "app", "helm.sh/hook": "post-install"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db", func(t *v1alpha1.VaultTask) {
				t.Spec.TTLSecondsAfterFinished = new(int32(0))
				t.Labels, t.Annotations = test.labels, test.annotations
			})
			begin(task, time.Time{}, now)
			complete(task, &outcome{result: &v1alpha1.TaskResult{}, message: "done"}, now)
			ready := meta.FindStatusCondition(task.Status.Conditions, v1alpha1.ConditionReady)
			if test.tool == "" {
				g.Expect(due(task, now).action).To(Equal(remove))
				g.Expect(ready.Message).To(Equal("done"))
				return
			}
			g.Expect(due(task, now)).To(Equal(decision{action: rest}))
			g.Expect(ready.Message).To(HavePrefix("done; it stays in spite of ttlSecondsAfterFinished, for " + test.tool + " would"))
		})
	}
}

func TestWhenATaskIsGivenUp(t *testing.T) {
	g := NewWithT(t)
	now := time.Now().Truncate(time.Second)
	task := builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db", func(t *v1alpha1.VaultTask) {
		t.Spec.ActiveDeadlineSeconds, t.Spec.BackoffLimit = new(int64(60)), new(int32(2))
	})
	begin(task, time.Time{}, now)
	pending(task, fault.Transient(v1alpha1.ReasonVaultSealed, "sealed"))
	g.Expect(overdue(task, false, lastCondition(task), now.Add(59*time.Second))).To(Succeed())
	late := overdue(task, false, lastCondition(task), now.Add(time.Minute))
	g.Expect(fault.Is(late, v1alpha1.ReasonDeadlineExceeded)).To(BeTrue())
	g.Expect(late).To(MatchError(HaveSuffix("last: VaultSealed, sealed")))
	g.Expect(fault.Is(overdue(task, true, lastCondition(task), now.Add(time.Minute)), v1alpha1.ReasonOutcomeUnknown)).
		To(BeTrue())

	task.Status.Failures = 2
	g.Expect(overdue(task, false, lastCondition(task), now)).To(Succeed())
	task.Status.Failures = 3
	g.Expect(fault.Is(overdue(task, false, lastCondition(task), now), v1alpha1.ReasonBackoffLimitExceeded)).To(BeTrue())
}

func TestAllowedPathsCoverWholeParts(t *testing.T) {
	g := NewWithT(t)
	allowed := []string{"sys/mounts/team/"}
	g.Expect(covered("sys/mounts/team", allowed)).To(BeTrue())
	g.Expect(covered("sys/mounts/team/tune", allowed)).To(BeTrue())
	g.Expect(covered("sys/mounts/team-b", allowed)).To(BeFalse())
	g.Expect(covered("sys/mounts", allowed)).To(BeFalse())
}

func TestAMismatchSaysWhichVersionWasExpectedAndWhichIsThere(t *testing.T) {
	for name, test := range map[string]struct {
		cas               *int64
		expected, version int64
		known             bool
		sentence          string
	}{
		"another version": {new(int64(3)), 3, 5, true, "the write was to follow version 3, and version 5 of secret/db is there; " +
			"look at what is there, then create another VaultTask with cas: 5"},
		"where there was to be none": {new(int64(0)), 0, 1, true, "the write was to be the first version, and version 1 of secret/db is there; " +
			"look at what is there, then create another VaultTask with cas: 1"},
		"none": {new(int64(3)), 3, 0, true, "the write was to follow version 3, and there is no version of secret/db; " +
			"look at what is there, then create another VaultTask with cas: 0"},
		"one that Vault does not tell": {new(int64(3)), 3, 0, false, "the write was to follow version 3, and another version of secret/db is there, and " +
			"Vault does not tell which; look at what is there, then create another VaultTask with its version as cas"},
		"others all the time": {nil, 3, 5, true, "the write was to follow version 3, and version 5 of secret/db is there; " +
			"others write it at the same time: set the annotation sallyport.dev/rerun to run the task again"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			task := builder.VaultTask("shop", "write", v1alpha1.OperationWrite, "db", func(t *v1alpha1.VaultTask) { t.Spec.CAS = test.cas })
			f := versionMismatch(task, "secret/db", test.expected, test.version, test.known)
			g.Expect(f).To(MatchError("nothing was written: " + test.sentence))
			g.Expect([]any{f.Reason, f.Class}).To(Equal([]any{v1alpha1.ReasonCASMismatch, fault.ClassTerminal}))
		})
	}
}
