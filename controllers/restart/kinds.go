package restart

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// kind is one kind of workload.
type kind struct {
	schema.GroupVersionKind
	// optional kinds are of an operator that may not be installed, or may be installed later.
	optional bool
	// new returns an empty object.
	new func() client.Object
	// template of the object's pods. It may stand in another object, which is read.
	template func(context.Context, client.Reader, client.Object) (*corev1.PodTemplateSpec, error)
	// roll changes what has all pods made anew, to mark them as those for which seen was seen.
	roll func(workload client.Object, now time.Time, seen string)
	// progress of the object's last roll-out.
	progress func(client.Object) progress
}

// progress tells how far a roll-out is.
type progress struct {
	// over: it is complete, or stands still by somebody's will, or because whoever rolls it has given up.
	over bool
	// mark differs whenever it got further.
	mark string
	// deadline is how long it may take to get further.
	deadline time.Duration
	// idle: there are no pods, and those that will be see what is there then.
	idle bool
}

// defaultDeadline is what Kubernetes has for Deployments.
const defaultDeadline = 10 * time.Minute

func kinds() []kind {
	return []kind{
		kindOf("Deployment", deploymentProgress,
			func(w *appsv1.Deployment) *corev1.PodTemplateSpec { return &w.Spec.Template }),
		kindOf("StatefulSet", statefulSetProgress,
			func(w *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &w.Spec.Template }),
		kindOf("DaemonSet", daemonSetProgress,
			func(w *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &w.Spec.Template }),
		rolloutKind(),
	}
}

// kindOf is the built-in kind whose objects are of type *T. As with kubectl rollout restart, an annotation of the pod
// template rolls the pods.
func kindOf[T any, P interface {
	*T
	client.Object
}](name string, far func(P) progress, template func(P) *corev1.PodTemplateSpec) kind {
	return kind{
		GroupVersionKind: appsv1.SchemeGroupVersion.WithKind(name),
		new:              func() client.Object { return P(new(T)) },
		template: func(_ context.Context, _ client.Reader, o client.Object) (*corev1.PodTemplateSpec, error) {
			if workload, ok := o.(P); ok {
				return template(workload), nil
			}
			return nil, fmt.Errorf("%T is no %s", o, name)
		},
		roll: func(o client.Object, _ time.Time, seen string) {
			if workload, ok := o.(P); ok {
				annotate(&template(workload).ObjectMeta, v1alpha1.AnnotationRestartedFor, seen)
			}
		},
		progress: func(o client.Object) progress {
			if workload, ok := o.(P); ok {
				return far(workload)
			}
			return progress{over: true}
		},
	}
}

func deploymentProgress(d *appsv1.Deployment) progress {
	replicas, status := orOne(d.Spec.Replicas), &d.Status
	p := progress{
		idle: replicas == 0, deadline: seconds(d.Spec.ProgressDeadlineSeconds),
		mark: fmt.Sprint(status.ObservedGeneration, status.UpdatedReplicas, status.AvailableReplicas, status.Replicas),
	}
	if p.over = d.Spec.Paused; p.over || status.ObservedGeneration < d.Generation {
		return p
	}
	p.over = status.UpdatedReplicas >= replicas && status.Replicas <= status.UpdatedReplicas &&
		status.AvailableReplicas >= status.UpdatedReplicas
	for _, c := range status.Conditions {
		const exceeded = "ProgressDeadlineExceeded" // of the deployment controller, in no package of the API
		p.over = p.over || c.Type == appsv1.DeploymentProgressing && c.Reason == exceeded
	}
	return p
}

func statefulSetProgress(s *appsv1.StatefulSet) progress {
	replicas, status := orOne(s.Spec.Replicas), &s.Status
	p := progress{
		idle: replicas == 0, deadline: defaultDeadline,
		mark: fmt.Sprint(status.ObservedGeneration, status.UpdatedReplicas, status.ReadyReplicas,
			status.AvailableReplicas),
	}
	strategy := s.Spec.UpdateStrategy
	p.over = strategy.Type == appsv1.OnDeleteStatefulSetStrategyType
	if p.over || status.ObservedGeneration < s.Generation {
		return p
	}
	updated := replicas
	if rolling := strategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		updated = max(0, replicas-*rolling.Partition)
	}
	p.over = status.UpdatedReplicas >= updated && status.AvailableReplicas >= replicas
	return p
}

func daemonSetProgress(d *appsv1.DaemonSet) progress {
	status := &d.Status
	p := progress{
		deadline: defaultDeadline,
		mark: fmt.Sprint(status.ObservedGeneration, status.UpdatedNumberScheduled, status.NumberReady,
			status.NumberAvailable),
	}
	if p.over = d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType; !p.over {
		p.over = status.ObservedGeneration >= d.Generation &&
			status.UpdatedNumberScheduled >= status.DesiredNumberScheduled &&
			status.NumberAvailable >= status.DesiredNumberScheduled
	}
	return p
}

func orOne(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func seconds(given *int32) time.Duration {
	if given == nil {
		return defaultDeadline
	}
	return time.Duration(*given) * time.Second
}
