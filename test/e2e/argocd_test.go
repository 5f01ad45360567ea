package e2e

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// kustomize renders what a directory's kustomization makes with changes on top, which are fields of a kustomization.
func kustomize(ctx context.Context, base string, overlay map[string]any) string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	relative, err := filepath.Rel(dir, base)
	Expect(err).NotTo(HaveOccurred())
	kustomization := map[string]any{"resources": []string{relative}}
	maps.Copy(kustomization, overlay)
	content, err := yaml.Marshal(kustomization)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), content, 0o600)).To(Succeed())
	return kubectl(ctx, "kustomize", dir)
}

// samples are config/samples for the tenant: in the order of waves, with the node's Vault and image, and a Deployment
// that is rolled when a secret changes.
func (t *tenant) samples(ctx context.Context) string {
	GinkgoHelper()
	patch := func(kind, patch string) any {
		return map[string]any{"target": map[string]any{"kind": kind}, "patch": patch}
	}
	annotate := func(kind, annotations string) any {
		return patch(kind, "- {op: add, path: /metadata/annotations, value: {"+annotations+"}}")
	}
	image, tag, _ := strings.Cut(demoImage, ":")
	return kustomize(ctx, filepath.Join(paths.checkout, "config/samples"), map[string]any{
		"namespace": t.namespace,
		"images":    []any{map[string]any{"name": "busybox", "newName": image, "newTag": tag}},
		"patches": []any{
			patch("VaultConfig", "- {op: replace, path: /spec/url, value: '"+vault.Address()+"'}"),
			annotate("Connection", annotationWave+`: "1"`),
			annotate("Deployment", annotationWave+`: "2", `+v1alpha1.AnnotationRestartOnChange+`: "true", `+v1alpha1.AnnotationRestartMinInterval+`: 0s`),
			annotate("VaultTask", annotationWave+`: "3"`),
		},
	})
}

// putBookshop writes the secrets of the samples, and returns the password of oracle.
func putBookshop(ctx context.Context) string {
	GinkgoHelper()
	for path, data := range map[string]map[string]any{
		"mail":     {"address": "shop@example.com", "password": newSecret("password of mail")},
		"licence":  {"key.v1": newSecret("licence")},
		"database": {"port": 5432, "user": "books", "password": newSecret("password of database")},
	} {
		_, err := vault.KVv2(engine).Put(ctx, "bookshop/"+path, data)
		Expect(err).NotTo(HaveOccurred())
	}
	return putOracle(ctx)
}

func putOracle(ctx context.Context) string {
	GinkgoHelper()
	password := newSecret("password of oracle")
	_, err := vault.KVv2(engine).Put(ctx, "bookshop/oracle", map[string]any{"user": "scott", "password": password})
	Expect(err).NotTo(HaveOccurred())
	return password
}

// expectNone makes sure that a namespace has no object of a kind.
func expectNone(ctx context.Context, namespace string, list client.ObjectList) {
	GinkgoHelper()
	Expect(api.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	Expect(meta.LenList(list)).To(BeZero(), "%T in %s", list, namespace)
}

// expectInOrder makes sure that each wave of the samples came when all of the wave before it was ready.
func (t *tenant) expectInOrder(ctx context.Context) {
	GinkgoHelper()
	config, deployment := t.vaultConfig(mainConfig), &appsv1.Deployment{ObjectMeta: t.meta("bookshop")}
	connections, tasks := &v1alpha1.ConnectionList{}, &v1alpha1.VaultTaskList{}
	Expect(api.Get(ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
	Expect(api.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)).To(Succeed())
	Expect(api.List(ctx, connections, client.InNamespace(t.namespace))).To(Succeed())
	Expect(api.List(ctx, tasks, client.InNamespace(t.namespace))).To(Succeed())
	Expect(connections.Items).To(HaveLen(3))
	Expect(tasks.Items).To(HaveLen(2))

	ready := meta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime.Time
	for _, c := range connections.Items {
		Expect(c.CreationTimestamp.Time).To(BeTemporally(">=", ready), "Connection %s", c.Name)
		ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime.Time
		Expect(deployment.CreationTimestamp.Time).To(BeTemporally(">=", ready), "the Deployment, after Connection %s", c.Name)
	}
	for _, c := range deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentAvailable {
			for _, task := range tasks.Items {
				Expect(task.CreationTimestamp.Time).To(BeTemporally(">=", c.LastTransitionTime.Time), "VaultTask %s", task.Name)
			}
		}
	}
}

var _ = Describe("A real Argo CD", Ordered, Serial, func() {
	var (
		shop                  *tenant
		installation, samples *application
	)

	BeforeAll(func(ctx SpecContext) {
		expectProductReady(ctx)
		shop = newTenant(ctx)
		Expect(api.Delete(ctx, builder.TokenSecret(shop.namespace, tokenSecret, ""))).To(Succeed())
		policy, err := os.ReadFile(filepath.Join(paths.checkout, "config/samples/vault-policy.hcl"))
		Expect(err).NotTo(HaveOccurred())
		Expect(vault.Sys().PutPolicyWithContext(ctx, shop.namespace, string(policy))).To(Succeed())
		create(ctx, &corev1.ConfigMap{ObjectMeta: shop.meta("vault-ca"), Data: map[string]string{"ca.crt": vaultCA}})
		startArgoCD(ctx)
	}, NodeTimeout(2*eventual))

	It("takes over the installation, and replaces no pod", func(ctx SpecContext) {
		before := names(append(systemPods(ctx, "controller"), systemPods(ctx, "node")...))
		installation = newApplication(ctx, platformProject, "sallyport", systemNamespace, kustomize(ctx, setting("SALLYPORT_INSTALLATION"), nil), automated())
		status := installation.expectSynced(ctx)
		Expect(status.Resources).To(ContainElements(HaveField("Kind", "CustomResourceDefinition"), HaveField("Kind", "DaemonSet")))
		Expect(names(append(systemPods(ctx, "controller"), systemPods(ctx, "node")...))).To(ConsistOf(before))
	}, SpecTimeout(atLast))

	It("holds each wave of the samples until Sallyport is ready with the one before", func(ctx SpecContext) {
		samples = newApplication(ctx, platformProject, "samples", shop.namespace, shop.samples(ctx), automated())
		samples.expectOperation(ctx, "Running", ContainSubstring("waiting for healthy state of sallyport.dev/VaultConfig/main"))
		expectNone(ctx, shop.namespace, &v1alpha1.ConnectionList{})
		By("the credential that the VaultConfig waits for")
		shop.keepToken(ctx, tokenSecret, shop.newToken(ctx, nil))
		samples.expectOperation(ctx, "Running", ContainSubstring("waiting for healthy state of sallyport.dev/Connection/"))
		expectNone(ctx, shop.namespace, &appsv1.DeploymentList{})

		By("the secrets that the Connections wait for")
		password := putBookshop(ctx)
		samples.expectSynced(ctx)
		shop.expectInOrder(ctx)
		shop.expectCurrent(ctx)
		bookshop := shop.bookshop()
		bookshop.expectSettled(ctx, 1)
		Expect(os.ReadFile(inPod(bookshop.pods(ctx)[0], "/connections/oracle/password"))).To(BeEquivalentTo(password))
	}, SpecTimeout(2*atLast))

	It("finds no drift in ten comparisons, and does not fight with a restart", func(ctx SpecContext) {
		expectPeace(ctx, shop.bookshop(), samples, installation)
	}, SpecTimeout(2*atLast))

	It("nor with server-side diff and apply", func(ctx SpecContext) {
		for _, a := range []*application{installation, samples} {
			a.serverSide(ctx)
			a.expectOperation(ctx, "Succeeded", Not(BeEmpty()))
		}
		expectPeace(ctx, shop.bookshop(), samples, installation)
	}, SpecTimeout(2*atLast))

	It("shows why a task that changed in git is refused, and goes on with a new name", changedTasksAreRefused, SpecTimeout(2*atLast))
	It("holds the sync for a hook until it is Complete, and fails with it", hooksHoldTheSync, SpecTimeout(2*atLast))
	It("runs a task once that would be gone after its end, whatever it heals", tasksRunOnceUnderSelfHeal, SpecTimeout(2*atLast))
	It("shows which right a limited identity lacks", robotsLearnWhatTheyLack, SpecTimeout(atLast))
	It("gives leases back with what it prunes and with what it cascades", leasesGoWithTheirObjects, SpecTimeout(4*atLast))
})
