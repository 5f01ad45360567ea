package overview

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/internal/cli/health"
)

// component selects what belongs to one of Sallyport's parts, wherever it is installed.
func component(name string) client.MatchingLabels {
	return client.MatchingLabels{"app.kubernetes.io/name": "sallyport", "app.kubernetes.io/component": name}
}

// parts are the Deployment of the controller, the DaemonSet of the node plugin, and their pods.
func parts(ctx context.Context, objects client.Reader) ([]Row, error) {
	var rows []Row
	deployments := &appsv1.DeploymentList{}
	found, err := list(ctx, objects, deployments, "controller", &rows, "Controller")
	if err != nil {
		return nil, err
	}
	for n := range deployments.Items {
		d := &deployments.Items[n]
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		rows = append(rows, whole("Controller", d, d.Status.ReadyReplicas, want, "replicas"))
	}
	if found && len(deployments.Items) == 0 {
		rows = append(rows, absent("Controller", "sallyport-controller"))
	}
	sets := &appsv1.DaemonSetList{}
	found, err = list(ctx, objects, sets, "node", &rows, "NodePlugin")
	if err != nil {
		return nil, err
	}
	for n := range sets.Items {
		s := &sets.Items[n]
		rows = append(rows, whole("NodePlugin", s, s.Status.NumberReady, s.Status.DesiredNumberScheduled, "nodes"))
	}
	if found && len(sets.Items) == 0 {
		rows = append(rows, absent("NodePlugin", "sallyport-node"))
	}
	for _, name := range []string{"controller", "node"} {
		pods := &corev1.PodList{}
		if _, err := list(ctx, objects, pods, name, nil, ""); err != nil {
			return nil, err
		}
		for n := range pods.Items {
			rows = append(rows, ofPod(&pods.Items[n]))
		}
	}
	return rows, nil
}

// list lists what belongs to a part. Without the right to do so, a row says that.
func list(
	ctx context.Context, objects client.Reader, into client.ObjectList, part string, rows *[]Row, kind string,
) (bool, error) {
	err := objects.List(ctx, into, component(part))
	if !apierrors.IsForbidden(err) {
		return err == nil, err
	}
	if rows != nil {
		unknown := health.Health{State: health.Unknown, Message: "you have no right to look at it"}
		*rows = append(*rows, Row{Kind: kind, Name: "sallyport-" + part, Health: unknown})
	}
	return false, nil
}

func absent(kind, name string) Row {
	message := name + " does not exist: Sallyport is not installed as a whole; see docs/install.md"
	return Row{Kind: kind, Name: name, Health: health.Health{State: health.Missing, Message: message}}
}

func whole(kind string, object client.Object, ready, want int32, of string) Row {
	r := Row{
		Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), Health: health.Health{State: health.Healthy},
		Detail: fmt.Sprintf("%d of %d %s ready", ready, want, of),
	}
	switch {
	case ready >= want:
	case ready == 0:
		r.Health = health.Health{State: health.Degraded, Message: "none of its " + of + " is ready; see the events and logs of its pods"}
	default:
		r.State = health.Progressing
		r.Message = fmt.Sprintf("%d of %d %s not ready", want-ready, want, of)
	}
	return r
}

func ofPod(pod *corev1.Pod) Row {
	r := Row{
		Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, Health: health.Health{State: health.Healthy},
		Detail: pod.Spec.NodeName, Each: true,
	}
	ready := false
	for n := range pod.Status.Conditions {
		c := &pod.Status.Conditions[n]
		if c.Type != corev1.PodReady {
			continue
		}
		ready = c.Status == corev1.ConditionTrue
		r.Since = c.LastTransitionTime.DeepCopy()
	}
	if ready {
		return r
	}
	r.Health = health.Health{State: health.Progressing, Message: "it is not ready"}
	for n := range pod.Status.ContainerStatuses {
		c := &pod.Status.ContainerStatuses[n]
		if waits := c.State.Waiting; waits != nil && waits.Reason != "ContainerCreating" && waits.Reason != "" {
			r.Health = health.Health{State: health.Degraded, Message: "its container waits: " + waits.Reason}
			if c.RestartCount > 0 {
				r.Message += fmt.Sprintf(" (%d restarts)", c.RestartCount)
			}
		}
	}
	return r
}
