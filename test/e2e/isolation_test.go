package e2e

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

var _ = Describe("Two namespaces", Ordered, ContinueOnFailure, func() {
	var (
		a, b           *tenant
		ofA, ofB       string
		podA, podB     *corev1.Pod
		onlyA, foreign *v1alpha1.Connection
	)

	BeforeAll(func(ctx SpecContext) {
		a, b = newReadyTenant(ctx), newReadyTenant(ctx)
		ofA, ofB = newSecret("password of a"), newSecret("password of b")
		a.put(ctx, "db", map[string]any{"password": ofA})
		b.put(ctx, "db", map[string]any{"password": ofB})
		password := map[string]any{"password": "vault.secret(password)"}
		onlyA = a.connection("only-a", password, a.secretAt("db"))
		foreign = b.connection("foreign", password, a.secretAt("db"))
		foreign.Spec.VaultSecrets[0].VaultConfigRef.Namespace = a.namespace
		create(ctx, a.connection("db", password, a.secretAt("db")), b.connection("db", password, b.secretAt("db")), onlyA, foreign)
		podA, podB = a.start(ctx, "db"), b.start(ctx, "db")
		expectRuns(ctx, podA, eventual)
		expectRuns(ctx, podB, eventual)
	}, NodeTimeout(2*eventual))

	It("have Connections of the same name and each its own values", func() {
		expectFile(podA, "password", ofA)
		expectFile(podB, "password", ofB)
	})

	It("cannot mount each other's Connections", func(ctx SpecContext) {
		expectReady(ctx, onlyA)
		expectFailedMount(ctx, b.start(ctx, "only-a"), v1alpha1.ReasonConnectionNotFound, "Connection "+b.namespace+"/only-a does not exist")
		reference := b.pod("db")
		attributes(reference)[v1alpha1.AttributeConnection] = a.namespace + "/only-a"
		create(ctx, reference)
		Eventually(ctx, func() []string { return failedMounts(ctx, reference) }).WithTimeout(eventual).ShouldNot(BeEmpty())
		expectWaits(ctx, reference)
	}, SpecTimeout(eventual))

	It("cannot use each other's VaultConfigs", func(ctx SpecContext) {
		pod := b.start(ctx, "foreign")
		sentence := "VaultConfig " + a.namespace + "/" + mainConfig + " does not exist, or may not be used from namespace " + b.namespace
		expectFailedMount(ctx, pod, v1alpha1.ReasonNamespaceNotAllowed, sentence)
		Expect(expectNotReady(ctx, foreign, v1alpha1.ReasonNamespaceNotAllowed).Message).To(ContainSubstring(sentence))
	}, SpecTimeout(eventual))

	It("are not opened to each other by a token's policy alone", func(ctx SpecContext) {
		// b's own VaultConfig with a's path: Vault refuses it.
		connection := b.connection("of-a", map[string]any{"password": "vault.secret(password)"}, a.secretAt("db"))
		create(ctx, connection)
		expectFailedMount(ctx, b.start(ctx, "of-a"), v1alpha1.ReasonPermissionDenied, "403 permission denied")
	}, SpecTimeout(eventual))
})

var _ = Describe("A user who may write VaultConfigs but read no Secret", func() {
	It("cannot have the controller read one", func(ctx SpecContext) {
		t := newTenant(ctx)
		account := &corev1.ServiceAccount{ObjectMeta: t.meta("editor")}
		create(ctx, account, &rbacv1.RoleBinding{
			ObjectMeta: t.meta("editor"),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "sallyport-edit"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: t.namespace, Name: account.Name}},
		})
		impersonated := rest.CopyConfig(restConfig)
		impersonated.Impersonate.UserName = "system:serviceaccount:" + t.namespace + ":" + account.Name
		editor, err := client.New(impersonated, client.Options{Scheme: api.Scheme()})
		Expect(err).NotTo(HaveOccurred())
		// Until the binding has reached the authorizer, another sentence forbids it.
		Eventually(ctx, func() error { return editor.Create(ctx, t.vaultConfig(mainConfig)) }).WithTimeout(soon).Should(And(
			Satisfy(apierrors.IsForbidden),
			MatchError(ContainSubstring("you ("+impersonated.Impersonate.UserName+") may not refer to a Secret that you may not get yourself; ask for the "+
				"right to get Secret "+tokenSecret))))
	}, SpecTimeout(eventual))
})
