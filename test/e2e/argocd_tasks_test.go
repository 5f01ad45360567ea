package e2e

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// hook is a VaultTask that reads a secret in the middle of a sync, with a VaultConfig.
func (t *tenant) hook(config, path string) *v1alpha1.VaultTask {
	task := builder.VaultTask(t.namespace, "seed", v1alpha1.OperationRead, t.namespace+"/"+path, builder.WithConfig(config))
	task.Spec.ActiveDeadlineSeconds = new(int64(120))
	return annotated(task, annotationHook, "Sync", annotationWave, "1", annotationDeletePolicy, "BeforeHookCreation,HookFailed")
}

// hooksHoldTheSync is the spec of hooks: what comes after one waits for it.
func hooksHoldTheSync(ctx SpecContext) {
	t := newTenant(ctx)
	t.put(ctx, "there", map[string]any{"password": newSecret("password")})
	after := &corev1.ConfigMap{ObjectMeta: t.meta("after")}
	annotated(after, annotationWave, "2")
	a := newApplication(ctx, platformProject, "hooks", t.namespace, manifests(t.vaultConfig(mainConfig), t.hook("later", "there"), after), nil)
	a.sync(ctx)
	a.expectOperation(ctx, "Running", ContainSubstring("waiting for completion of hook sallyport.dev/VaultTask/seed"))
	expectNotFound(ctx, after)

	By("the VaultConfig that the hook waits for")
	create(ctx, t.vaultConfig("later"))
	a.expectOperation(ctx, "Succeeded", Not(BeEmpty()))
	Expect(api.Get(ctx, client.ObjectKeyFromObject(after), after)).To(Succeed())
	a.expectSynced(ctx)

	By("a hook that fails, in a change that was not made before")
	missing := t.hook(mainConfig, "missing")
	change := &corev1.ConfigMap{ObjectMeta: t.meta("change")}
	a.change(ctx, manifests(t.vaultConfig(mainConfig), missing, after, annotated(change, annotationWave, "2")))
	a.sync(ctx)
	a.expectOperation(ctx, "Failed", And(ContainSubstring(v1alpha1.ReasonSecretNotFound), ContainSubstring(engine+"/data/"+t.namespace+"/missing")))
	expectNotFound(ctx, change)
	Eventually(ctx, func() error { return api.Get(ctx, client.ObjectKeyFromObject(missing), missing) }).
		WithTimeout(soon).Should(Satisfy(apierrors.IsNotFound), "the failed hook is deleted")
}

// tasksRunOnceUnderSelfHeal is the spec of ttlSecondsAfterFinished: a task that git has would be created anew, and would
// run, whenever it is gone. So it stays, and a hook goes, which self-heal does not bring back.
func tasksRunOnceUnderSelfHeal(ctx SpecContext) {
	t := newReadyTenant(ctx)
	rotation := func(name string, annotations ...string) *v1alpha1.VaultTask {
		return annotated(builder.VaultTask(t.namespace, name, v1alpha1.OperationWrite, t.namespace+"/"+name, func(task *v1alpha1.VaultTask) {
			task.Spec.Generate, task.Spec.Overwrite = []v1alpha1.GeneratedValue{{Key: "password"}}, new(true)
			task.Spec.TTLSecondsAfterFinished = new(int32(0))
		}), annotations...)
	}
	kept, hook := rotation("kept"), rotation("hook", annotationHook, "Sync", annotationWave, "1")
	beside := &corev1.ConfigMap{ObjectMeta: t.meta("beside"), Data: map[string]string{"of": "git"}}
	a := newApplication(ctx, platformProject, "rotations", t.namespace, manifests(kept, hook, beside), automated())
	a.expectOperation(ctx, "Succeeded", Not(BeEmpty()))
	a.expectSynced(ctx)
	Expect(expectCondition(ctx, kept, v1alpha1.ConditionComplete, metav1.ConditionTrue, v1alpha1.ReasonSucceeded).Message).
		To(ContainSubstring("it stays in spite of ttlSecondsAfterFinished, for Argo CD would create it anew"))
	first := kept.UID
	versions := func(g Gomega) []int {
		var written []int
		for _, name := range []string{"kept", "hook"} {
			metadata, err := vault.KVv2(engine).GetMetadata(ctx, t.namespace+"/"+name)
			g.Expect(err).NotTo(HaveOccurred())
			written = append(written, metadata.CurrentVersion)
		}
		return written
	}
	Expect(versions(Default)).To(Equal([]int{1, 1}))
	Eventually(ctx, func() error { return api.Get(ctx, client.ObjectKeyFromObject(hook), hook) }).
		WithTimeout(eventual).Should(Satisfy(apierrors.IsNotFound), "the hook is gone after its end")

	for range 3 {
		By("healing what somebody deleted beside it")
		Expect(api.Delete(ctx, beside.DeepCopy())).To(Succeed())
		Eventually(ctx, func() error { return api.Get(ctx, client.ObjectKeyFromObject(beside), &corev1.ConfigMap{}) }).
			WithTimeout(atLast).Should(Succeed(), "self-heal")
		a.refresh(ctx)
		a.expectSynced(ctx)
		Expect(api.Get(ctx, client.ObjectKeyFromObject(kept), kept)).To(Succeed())
		Expect(kept.UID).To(Equal(first), "the same task, not one that was created anew")
		Expect(versions(Default)).To(Equal([]int{1, 1}), "each ran once")
	}
}

func expectNotFound(ctx context.Context, object client.Object) {
	GinkgoHelper()
	Expect(api.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Satisfy(apierrors.IsNotFound), "%T %s", object, object.GetName())
}

// robotsLearnWhatTheyLack is the spec of an identity that may write Sallyport's kinds and get no Secret.
func robotsLearnWhatTheyLack(ctx SpecContext) {
	t := newTenant(ctx)
	role := &rbacv1.Role{ObjectMeta: t.meta(robot), Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: []string{"*"},
	}}}
	create(ctx, role, &rbacv1.RoleBinding{
		ObjectMeta: t.meta(robot),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: robot},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: t.namespace, Name: robot}},
	})
	a := newApplication(ctx, robotProject, "robot", t.namespace, manifests(t.vaultConfig(mainConfig)), nil)
	a.sync(ctx)
	a.expectOperation(ctx, "Failed", ContainSubstring("you (system:serviceaccount:"+t.namespace+":"+robot+") may not refer to a Secret that you may "+
		"not get yourself; ask for the right to get Secret "+tokenSecret+" in this namespace, or have somebody write the VaultConfig who has it"))

	By("a Role with get on that one name")
	change(ctx, role, func(r *rbacv1.Role) {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{
			APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{tokenSecret}, Verbs: []string{"get"},
		})
	})
	a.sync(ctx)
	a.expectSynced(ctx)
}

// leasesGoWithTheirObjects is the spec of removal: of what git has no more, and of the whole application.
func leasesGoWithTheirObjects(ctx SpecContext) {
	t := newReadyTenant(ctx)
	d := newDatabase(ctx, t)
	config := t.vaultConfig("shop")
	secret := v1alpha1.VaultSecret{
		VaultConfigRef: v1alpha1.VaultConfigReference{Name: config.Name}, EnginePath: d.engine, SecretPath: "creds/lasting",
	}
	connection := annotated(
		t.connection("orders", map[string]any{"username": "vault.secret(username)", "password": "vault.secret(password)"}, secret), annotationWave, "1")
	kept, pruned := t.deployment("kept", connection.Name, false), t.deployment("pruned", connection.Name, false)
	for _, w := range []workload{kept, pruned} {
		annotated(w.Object, annotationWave, "2")
	}
	a := newApplication(ctx, platformProject, "leases", t.namespace, manifests(config, connection, kept.Object, pruned.Object), automated())
	a.expectSynced(ctx)
	Expect(d.made()).To(HaveLen(4), "a user for each pod")
	d.forbidLeases(ctx, "lasting")

	By("taking a Deployment out of git")
	a.change(ctx, manifests(config, connection, kept.Object))
	a.expectSynced(ctx)
	Eventually(ctx, d.made).WithTimeout(eventual).Should(HaveLen(2), "users of the pods that are left")

	By("deleting the Application with all that it has")
	a.patch(ctx, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	Expect(api.Delete(ctx, a.object())).To(Succeed())
	Eventually(ctx, func() error { return api.Get(ctx, client.ObjectKeyFromObject(a.object()), a.object()) }).
		WithTimeout(atLast).Should(Satisfy(apierrors.IsNotFound), "the Application is gone")
	for _, object := range []client.Object{config, connection, kept.Object} {
		expectNotFound(ctx, object)
	}
	Eventually(ctx, d.made).WithTimeout(eventual).Should(BeEmpty(), "users in the database")
}
