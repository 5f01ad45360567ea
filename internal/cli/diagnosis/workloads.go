package diagnosis

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
)

// workload is what makes pods.
type workload struct {
	object   client.Object
	kind     string
	template *corev1.PodTemplateSpec
	// failure is why it cannot make them, if it says so.
	failure func() string
	// read, if it has one, fills the template from the object, or from another that the object refers to.
	read func(context.Context, client.Reader) error
}

func deployment() workload {
	d := &appsv1.Deployment{}
	return workload{object: d, kind: "Deployment", template: &d.Spec.Template, failure: func() string {
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				return c.Message
			}
		}
		return ""
	}}
}

func replicaSet() workload {
	r := &appsv1.ReplicaSet{}
	return workload{object: r, kind: "ReplicaSet", template: &r.Spec.Template, failure: func() string {
		for _, c := range r.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				return c.Message
			}
		}
		return ""
	}}
}

func job() workload {
	j := &batchv1.Job{}
	return workload{object: j, kind: "Job", template: &j.Spec.Template, failure: silent}
}

func statefulSet() workload {
	s := &appsv1.StatefulSet{}
	return workload{object: s, kind: "StatefulSet", template: &s.Spec.Template, failure: silent}
}

func daemonSet() workload {
	d := &appsv1.DaemonSet{}
	return workload{object: d, kind: "DaemonSet", template: &d.Spec.Template, failure: silent}
}

func cronJob() workload {
	c := &batchv1.CronJob{}
	return workload{object: c, kind: "CronJob", template: &c.Spec.JobTemplate.Spec.Template, failure: silent}
}

func silent() string { return "" }

// follow follows a workload to its pods, and without pods to what its template mounts.
func follow(of func() workload) func(context.Context, *Inspection, client.ObjectKey) (*Step, error) {
	return func(ctx context.Context, i *Inspection, key client.ObjectKey) (*Step, error) {
		w := of()
		if err := i.objects.Get(ctx, key, w.object); err != nil {
			return nil, err
		}
		if w.read != nil {
			if err := w.read(ctx, i.objects); err != nil {
				return nil, err
			}
		}
		return i.workload(ctx, w, key)
	}
}

func (i *Inspection) workload(ctx context.Context, w workload, key client.ObjectKey) (*Step, error) {
	step := &Step{Object: w.kind + " " + key.String(), Health: healthy("")}
	if failure := w.failure(); failure != "" {
		step.Health = degraded("", "it cannot make pods: %s", failure)
	}
	volumes := append(Volumes(&w.template.Spec), injected(w.template)...)
	if len(volumes) == 0 {
		if step.State == health.Healthy {
			step.Message = "its pods mount no Connection, so that Sallyport has no part in it"
		}
		return i.visit(step)
	}
	pods, err := i.podsOf(ctx, key.Namespace, w.object.GetUID())
	if err != nil {
		return nil, err
	}
	if len(pods) > 0 {
		return i.ofPods(ctx, step, pods)
	}
	if step.State == health.Healthy {
		step.Message = "it has no pods"
	}
	var follow []func() (*Step, error)
	for _, volume := range volumes {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace}, Spec: w.template.Spec}
		if pod.Spec.ServiceAccountName == "" {
			pod.Spec.ServiceAccountName = "default"
		}
		follow = append(follow, func() (*Step, error) {
			// Nothing waits for a volume that no pod has.
			return i.templateVolume(ctx, pod, volume)
		})
	}
	return i.visit(step, follow...)
}

// injected are the volumes that admission gives the pods of a template whose annotation asks for variables.
func injected(template *corev1.PodTemplateSpec) []corev1.Volume {
	var volumes []corev1.Volume
	for n, name := range v1alpha1.EnvironmentConnections(template.Annotations) {
		volumes = append(volumes, corev1.Volume{
			Name: fmt.Sprintf("sallyport-env-%d", n),
			VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
				Driver: v1alpha1.DriverName, VolumeAttributes: map[string]string{v1alpha1.AttributeConnection: name},
			}},
		})
	}
	return volumes
}

func (i *Inspection) templateVolume(ctx context.Context, pod *corev1.Pod, volume corev1.Volume) (*Step, error) {
	step := &Step{Object: "volume " + volume.Name, Health: healthy("of the pod template")}
	name := volume.CSI.VolumeAttributes[v1alpha1.AttributeConnection]
	if name == "" {
		step.Health = nameless()
		return i.visit(step)
	}
	return i.visit(step, func() (*Step, error) {
		key := client.ObjectKey{Namespace: pod.Namespace, Name: name}
		cause, err := i.referredConnection(ctx, key, step)
		if cause != nil || err != nil {
			return cause, err
		}
		return nil, i.refusal(ctx, pod, key, volume.CSI.VolumeAttributes, step)
	})
}

// ofPods follows the first pod that is stuck; if none is, the youngest, which has what the template says now.
func (i *Inspection) ofPods(ctx context.Context, step *Step, pods []corev1.Pod) (*Step, error) {
	chosen, stuck := &pods[0], 0
	for n := range pods {
		if Started(&pods[n]) {
			continue
		}
		if stuck == 0 {
			chosen = &pods[n]
		}
		stuck++
	}
	if stuck == 0 {
		for n := range pods {
			if chosen.CreationTimestamp.Before(&pods[n].CreationTimestamp) {
				chosen = &pods[n]
			}
		}
	}
	detail := health.Count(len(pods), "pod")
	if stuck > 0 {
		detail += ", " + health.Count(stuck, "pod") + " not started"
	}
	step.Details = append(step.Details, detail)
	return i.visit(step, func() (*Step, error) { return i.pod(ctx, chosen) })
}

// podsOf are the pods that an object, or a ReplicaSet or Job of it, controls. Those that have ended are left out.
func (i *Inspection) podsOf(ctx context.Context, namespace string, uid types.UID) ([]corev1.Pod, error) {
	owners := map[types.UID]bool{uid: true}
	for _, list := range []client.ObjectList{&appsv1.ReplicaSetList{}, &batchv1.JobList{}} {
		if err := i.objects.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		switch list := list.(type) {
		case *appsv1.ReplicaSetList:
			for n := range list.Items {
				addOwned(owners, &list.Items[n])
			}
		case *batchv1.JobList:
			for n := range list.Items {
				addOwned(owners, &list.Items[n])
			}
		}
	}
	pods := &corev1.PodList{}
	if err := i.objects.List(ctx, pods, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var found []corev1.Pod
	for n := range pods.Items {
		pod := &pods.Items[n]
		owner := metav1.GetControllerOf(pod)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if owner != nil && owners[owner.UID] && !ended && pod.DeletionTimestamp.IsZero() {
			found = append(found, *pod)
		}
	}
	return found, nil
}

func addOwned(owners map[types.UID]bool, object client.Object) {
	if owner := metav1.GetControllerOf(object); owner != nil && owners[owner.UID] {
		owners[object.GetUID()] = true
	}
}
