package restart

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rollout is what concerns us of a Rollout of Argo. Its own module would bring all of Kubernetes with it.
type rollout struct {
	Spec struct {
		Replicas                *int32                 `json:"replicas"`
		Template                corev1.PodTemplateSpec `json:"template"`
		RestartAt               *metav1.Time           `json:"restartAt"`
		ProgressDeadlineSeconds *int32                 `json:"progressDeadlineSeconds"`
		WorkloadRef             struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
		} `json:"workloadRef"`
	} `json:"spec"`
	Status struct {
		Phase             string       `json:"phase"`
		RestartedAt       *metav1.Time `json:"restartedAt"`
		UpdatedReplicas   int64        `json:"updatedReplicas"`
		AvailableReplicas int64        `json:"availableReplicas"`
		ReadyReplicas     int64        `json:"readyReplicas"`
	} `json:"status"`
}

// rolloutKind are Rollouts of Argo. Another annotation in their pod template would be another version of the program,
// with all steps of a canary; restartAt has the pods that there are made anew, as they are.
func rolloutKind() kind {
	gvk := schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}
	return kind{
		GroupVersionKind: gvk,
		optional:         true,
		new: func() client.Object {
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(gvk)
			return object
		},
		template: rolloutTemplate,
		roll: func(workload client.Object, now time.Time, _ string) {
			object, isRollout := workload.(*unstructured.Unstructured)
			if spec, ok := object.Object["spec"].(map[string]any); isRollout && ok {
				spec["restartAt"] = now.UTC().Format(time.RFC3339)
			}
		},
		progress: func(workload client.Object) progress {
			r := parseRollout(workload)
			restarted := r.Spec.RestartAt == nil || r.Spec.RestartAt.Equal(r.Status.RestartedAt)
			return progress{
				idle:     orOne(r.Spec.Replicas) == 0,
				deadline: seconds(r.Spec.ProgressDeadlineSeconds),
				over:     restarted && r.Status.Phase != "Progressing",
				mark: fmt.Sprint(r.Status.RestartedAt, r.Status.UpdatedReplicas, r.Status.AvailableReplicas,
					r.Status.ReadyReplicas),
			}
		},
	}
}

// parseRollout returns what can be understood of a Rollout. What cannot, Argo cannot run either.
func parseRollout(workload client.Object) *rollout {
	parsed := &rollout{}
	object, ok := workload.(*unstructured.Unstructured)
	if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, parsed) != nil {
		return &rollout{}
	}
	return parsed
}

// rolloutTemplate returns the template of a Rollout's pods, which may be that of a Deployment.
func rolloutTemplate(ctx context.Context, live client.Reader, workload client.Object) (*corev1.PodTemplateSpec, error) {
	r := parseRollout(workload)
	ref := r.Spec.WorkloadRef
	if ref.APIVersion != appsv1.SchemeGroupVersion.String() || ref.Kind != "Deployment" {
		return &r.Spec.Template, nil
	}
	deployment := &appsv1.Deployment{}
	err := live.Get(ctx, types.NamespacedName{Namespace: workload.GetNamespace(), Name: ref.Name}, deployment)
	return &deployment.Spec.Template, client.IgnoreNotFound(err)
}
