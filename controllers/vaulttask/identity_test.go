package vaulttask

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/internal/vault/auth"
	"sallyport.dev/sallyport/test/builder"
)

func TestATaskSaysWhoLogsInWhereTheVaultConfigDoesNot(t *testing.T) {
	by := func(method func(*v1alpha1.ServiceAccountAuth) v1alpha1.VaultAuth, workload bool) *v1alpha1.VaultConfig {
		account := &v1alpha1.ServiceAccountAuth{Role: "app", ServiceAccountName: "reader"}
		if workload {
			account = &v1alpha1.ServiceAccountAuth{Role: "app", Workload: new(true)}
		}
		return builder.VaultConfig("platform", "main", builder.WithAuth(method(account)))
	}
	kubernetes := func(a *v1alpha1.ServiceAccountAuth) v1alpha1.VaultAuth { return v1alpha1.VaultAuth{Kubernetes: a} }
	jwt := func(a *v1alpha1.ServiceAccountAuth) v1alpha1.VaultAuth { return v1alpha1.VaultAuth{JWT: a} }
	for name, test := range map[string]struct {
		config  *v1alpha1.VaultConfig
		account string
		says    string
	}{
		"a workload's, named":               {by(kubernetes, true), "app", ""},
		"a workload's by jwt, named":        {by(jwt, true), "app", ""},
		"a workload's, not named":           {by(kubernetes, true), "", "VaultConfig platform/main logs in as whoever uses it (workload: true), and spec.serviceAccountName does not"},
		"a workload's by jwt, not named":    {by(jwt, true), "", "spec.serviceAccountName does not say who that is"},
		"a VaultConfig's own":               {by(kubernetes, false), "", ""},
		"a VaultConfig's own, and named":    {by(jwt, false), "app", "spec.serviceAccountName names service account app, but VaultConfig platform/main logs in by itself"},
		"a token's":                         {builder.VaultConfig("platform", "main"), "", ""},
		"a token's, and an account's named": {builder.VaultConfig("platform", "main"), "app", "logs in by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			task := builder.VaultTask("shop", "read", v1alpha1.OperationRead, "db", func(t *v1alpha1.VaultTask) { t.Spec.ServiceAccountName = test.account })
			err := namesWhoLogsIn(task, test.config)
			if test.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			f := fault.From(err)
			g.Expect(f.Message()).To(ContainSubstring(test.says))
			g.Expect(f.Reason).To(Equal(v1alpha1.ReasonInvalidSpec))
			g.Expect((&attempt{task: task}).classify(err).Class).To(Equal(fault.ClassWaiting), "an edit of the VaultConfig cures it, too")
		})
	}
}

// TestATaskLogsInAsAServiceAccountOfItsNamespace: whatever else it says.
func TestATaskLogsInAsAServiceAccountOfItsNamespace(t *testing.T) {
	g := NewWithT(t)
	r := NewReconciler(nil, nil, nil, nil, nil, clock.RealClock{})
	task := builder.VaultTask("shop", "read", v1alpha1.OperationRead, "db", func(t *v1alpha1.VaultTask) {
		t.UID, t.Spec.VaultConfigRef.Namespace = "uid", "platform"
	})
	g.Expect(r.workload(task)).To(BeNil())
	task.Spec.ServiceAccountName = "app"
	g.Expect(r.workload(task)).To(Equal(&auth.Workload{Namespace: "shop", ServiceAccount: "app", Task: "uid"}))
	g.Expect(r.own.uids).To(HaveLen(1), "its session ends with it")
}
