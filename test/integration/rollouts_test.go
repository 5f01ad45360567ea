package integration

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// noticed is how long it may take until the controller knows that Rollouts are there now.
const noticed = 90 * time.Second

func rollout(namespace string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
		"metadata": map[string]any{"namespace": namespace, "name": "app", "annotations": map[string]any{
			v1alpha1.AnnotationRestartOnChange: "true", v1alpha1.AnnotationRestartMinInterval: "0s",
		}},
		"spec": spec,
	}}
}

var _ = Describe("A Rollout with restart-on-change", func() {
	It("is restarted as it is when a Connection changes, though Argo was installed after the controller started", func() {
		namespace := newNamespace()
		readyConfig(namespace)
		path := "secret/data/" + namespace + "/oracle"
		vault.PutKV(path, map[string]any{"password": canary()})
		create(builder.Connection(namespace, "oracle", map[string]any{"password": "vault.secret(password)"}, builder.WithSecret(namespace+"/oracle"), builder.WithShortestRefresh))
		remove, err := cp.InstallRollouts()
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(remove()).To(Succeed()) })

		template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(new(podTemplate("oracle")))
		Expect(err).NotTo(HaveOccurred())
		own := rollout(namespace, map[string]any{"template": template})
		deployment := workloads(namespace, "oracle")[3]
		deployment.SetName("template")
		referring := rollout(namespace, map[string]any{
			"workloadRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "template"},
		})
		referring.SetName("referring")
		create(own, deployment, referring)
		all := []*unstructured.Unstructured{own, referring}
		for _, r := range all {
			Eventually(func(g Gomega) {
				g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(r), r)).To(Succeed())
				g.Expect(r.GetAnnotations()).To(HaveKey(v1alpha1.AnnotationSeen))
			}, noticed).Should(Succeed())
			Expect(r.Object["spec"]).NotTo(HaveKey("restartAt"))
		}

		vault.PutKV(path, map[string]any{"password": canary()})
		before := time.Now().Truncate(time.Second)
		for _, r := range all {
			spec, _ := r.DeepCopy().Object["spec"].(map[string]any)
			Eventually(func(g Gomega) {
				g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(r), r)).To(Succeed())
				at, _, failed := unstructured.NestedString(r.Object, "spec", "restartAt")
				g.Expect(failed).NotTo(HaveOccurred())
				restarted, failed := time.Parse(time.RFC3339, at)
				g.Expect(failed).NotTo(HaveOccurred())
				g.Expect(restarted).To(BeTemporally(">=", before))
				g.Expect(r.GetAnnotations()).To(HaveKeyWithValue(v1alpha1.AnnotationRestartedAt, at))
			}).Should(Succeed())
			unstructured.RemoveNestedField(r.Object, "spec", "restartAt")
			Expect(r.Object["spec"]).To(Equal(any(spec)), "another template would be another version, with all steps of a canary")
			expectEvent(r, "Normal", v1alpha1.ReasonRestarted)
		}
		_, seen := restartedFor(Default, deployment)
		Expect(seen).To(BeEmpty())

		By("Argo removed, and installed again")
		Expect(remove()).To(Succeed())
		Eventually(logs.String, noticed).Should(ContainSubstring("stopped watching an optional kind"))
		remove, err = cp.InstallRollouts()
		Expect(err).NotTo(HaveOccurred())
		own = rollout(namespace, map[string]any{"template": template})
		create(own)
		Eventually(func(g Gomega) {
			g.Expect(cp.Client.Get(ctx, client.ObjectKeyFromObject(own), own)).To(Succeed())
			g.Expect(own.GetAnnotations()).To(HaveKey(v1alpha1.AnnotationSeen))
		}, noticed).Should(Succeed())
	})
})
