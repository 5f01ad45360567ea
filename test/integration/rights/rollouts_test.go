package rights

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("A Rollout that the controller's service account writes", Ordered, func() {
	BeforeAll(func() {
		remove, err := cp.InstallRollouts()
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() { Expect(remove()).To(Succeed()) })
	})

	rollout := func(annotations map[string]any, spec map[string]any) client.Object {
		GinkgoHelper()
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
			"metadata": map[string]any{
				"namespace": newNamespace(), "name": "app", "annotations": annotations,
				"labels": map[string]any{"team": "shop"}, "finalizers": []any{"example.com/kept"},
			},
			"spec": spec,
		}}
		create(object)
		return object
	}
	whole := func(annotations map[string]any) client.Object {
		GinkgoHelper()
		return rollout(annotations, map[string]any{
			"replicas": int64(1), "restartAt": "2026-01-01T00:00:00Z",
			"selector": map[string]any{"matchLabels": map[string]any{"app": "app"}},
			"strategy": map[string]any{"canary": map[string]any{"steps": []any{map[string]any{"setWeight": int64(20)}}}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": "app"}},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app"}}},
			},
		})
	}
	patch := func(workload client.Object, body string) error {
		return as(controllerUser).Patch(ctx, workload, client.RawPatch(types.MergePatchType, []byte(body)))
	}
	asks := map[string]any{"sallyport.dev/restart-on-change": "true", "example.com/operator": "on"}
	const restart = `{"metadata":{"annotations":{"sallyport.dev/seen":"x","sallyport.dev/restarted-at":"x"}},"spec":{"restartAt":"2026-11-27T02:00:00Z"}}`

	It("is restarted, if it asks for that", func() {
		Expect(patch(whole(asks), restart)).To(Succeed())
		Expect(patch(whole(nil), restart)).To(MatchError(ContainSubstring("may restart only workloads with the annotation")))
		Expect(patch(rollout(asks, map[string]any{
			"workloadRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
		}), restart)).To(Succeed(), "for the first time, with the pods of a Deployment")
	})

	DescribeTable("keeps everything else", func(body string) {
		err := patch(whole(asks), body)
		Expect(err).To(MatchError(ContainSubstring("may change nothing of a Rollout but spec.restartAt and the annotations sallyport.dev/seen and sallyport.dev/restarted-at")))
		Expect(apierrors.IsForbidden(err)).To(BeTrue())
	},
		Entry("the wish to be restarted", `{"metadata":{"annotations":{"sallyport.dev/restart-on-change":null}}}`),
		Entry("annotations that other operators read", `{"metadata":{"annotations":{"example.com/operator":"off"}}}`),
		Entry("labels", `{"metadata":{"labels":{"team":"mine"}}}`),
		Entry("finalizers", `{"metadata":{"finalizers":null}}`),
		Entry("owners", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"x"}]}}`),
		Entry("the number of pods", `{"spec":{"replicas":0}}`),
		Entry("the steps of its canary", `{"spec":{"strategy":{"canary":{"steps":[]}}}}`),
		Entry("whether it is paused", `{"spec":{"paused":true}}`),
		Entry("whose pods it has", `{"spec":{"workloadRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"other"}}}`),
		Entry("its last restart", `{"spec":{"restartAt":null}}`),
		Entry("annotations of the pods", `{"spec":{"template":{"metadata":{"annotations":{"sallyport.dev/restarted-for":"x"}}}}}`),
		Entry("what they run", `{"spec":{"template":{"spec":{"containers":[{"name":"app","image":"evil"}]}}}}`),
	)
})
