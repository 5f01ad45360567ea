package diagnosis

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rolloutOfArgo is the kind of Argo Rollouts. Its own module would bring all of Kubernetes with it.
var rolloutOfArgo = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

// rolloutFields are those that matter here.
type rolloutFields struct {
	Spec struct {
		Template    corev1.PodTemplateSpec `json:"template"`
		WorkloadRef struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
		} `json:"workloadRef"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

// rollout makes pods by ReplicaSets, as a Deployment does, from its own template or from that of a Deployment.
func rollout() workload {
	object, fields, template, missing := &unstructured.Unstructured{}, &rolloutFields{}, &corev1.PodTemplateSpec{}, ""
	object.SetGroupVersionKind(rolloutOfArgo)
	return workload{
		object: object, kind: "Rollout", template: template,
		read: func(ctx context.Context, objects client.Reader) error {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, fields); err != nil {
				return fmt.Errorf("the Rollout %s cannot be read: %w", client.ObjectKeyFromObject(object), err)
			}
			*template = fields.Spec.Template
			ref := fields.Spec.WorkloadRef
			if ref.APIVersion != appsv1.SchemeGroupVersion.String() || ref.Kind != "Deployment" {
				return nil
			}
			deployment := &appsv1.Deployment{}
			err := objects.Get(ctx, client.ObjectKey{Namespace: object.GetNamespace(), Name: ref.Name}, deployment)
			*template = deployment.Spec.Template
			if apierrors.IsNotFound(err) {
				missing = fmt.Sprintf("its spec.workloadRef names Deployment %s, which does not exist", ref.Name)
			}
			return client.IgnoreNotFound(err)
		},
		failure: func() string {
			for _, c := range fields.Status.Conditions {
				if c.Status == metav1.ConditionTrue && (c.Type == "ReplicaFailure" || c.Type == "InvalidSpec") {
					return c.Message
				}
			}
			return missing
		},
	}
}

func rollouts() client.ObjectList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(rolloutOfArgo)
	return list
}
