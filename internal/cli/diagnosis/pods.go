package diagnosis

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/cli/health"
)

func followPod(ctx context.Context, i *Inspection, key client.ObjectKey) (*Step, error) {
	pod := &corev1.Pod{}
	if err := i.objects.Get(ctx, key, pod); err != nil {
		return nil, err
	}
	return i.pod(ctx, pod)
}

func (i *Inspection) pod(ctx context.Context, pod *corev1.Pod) (*Step, error) {
	step := &Step{Object: "Pod " + client.ObjectKeyFromObject(pod).String(), Health: healthy("")}
	volumes := Volumes(&pod.Spec)
	if len(volumes) == 0 {
		step.Message = "it mounts no Connection, so that Sallyport has no part in it"
		return i.visit(step)
	}
	started := Started(pod)
	scheduled := condition(pod, corev1.PodScheduled)
	switch {
	case started:
		step.Message = "its volumes are mounted"
		if ready := condition(pod, corev1.PodReady); ready != nil && ready.Status != corev1.ConditionTrue {
			step.Message += "; what its containers do is in their logs (" + ready.Reason + ")"
		}
	case pod.Spec.NodeName == "" && scheduled != nil && scheduled.Status == corev1.ConditionFalse:
		step.Health = degraded("", "it is not scheduled: %s", scheduled.Message)
	case pod.Spec.NodeName == "":
		step.Health = health.Health{State: health.Progressing, Message: "it is not scheduled yet"}
	default:
		step.Health = health.Health{State: health.Progressing, Message: "its containers have not started"}
	}
	failures := map[string]failure{}
	if !started {
		var err error
		if failures, err = i.mountFailures(ctx, pod); err != nil {
			return nil, err
		}
	}
	var follow []func() (*Step, error)
	for _, volume := range volumes {
		follow = append(follow, func() (*Step, error) { return i.volume(ctx, pod, volume, started, failures) })
	}
	if !started && pod.Spec.NodeName != "" {
		onNode := func() (*Step, error) { return i.nodePlugin(ctx, pod.Spec.NodeName) }
		follow = slices.Insert(follow, 0, onNode)
	}
	return i.visit(step, follow...)
}

// Volumes are those of a pod that the driver mounts.
func Volumes(spec *corev1.PodSpec) []corev1.Volume {
	return slices.DeleteFunc(slices.Clone(spec.Volumes), func(v corev1.Volume) bool {
		return v.CSI == nil || v.CSI.Driver != v1alpha1.DriverName
	})
}

// Started tells whether a container of the pod has ever run, which is not before all volumes are mounted.
func Started(pod *corev1.Pod) bool {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
			return true
		}
		// With any other reason an image is pulled, for which the sandbox and so the volumes are there.
		waits := c.State.Waiting
		if waits != nil && !slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, waits.Reason) {
			return true
		}
	}
	return false
}

// volume follows a volume to its Connection. What the kubelet was told when it last tried to mount it comes after what
// is wrong with the Connection or beyond, which it only repeats.
func (i *Inspection) volume(
	ctx context.Context, pod *corev1.Pod, volume corev1.Volume, started bool, failures map[string]failure,
) (*Step, error) {
	step := &Step{Object: "volume " + volume.Name, Health: healthy("mounted")}
	attributes := volume.CSI.VolumeAttributes
	name := attributes[v1alpha1.AttributeConnection]
	failed, hasFailed := failures[volume.Name]
	switch {
	case hasFailed:
		step.Health = degraded(failed.reason, "%s", failed.sentence)
		step.Details = append(step.Details, "last tried "+i.age(&metav1.Time{Time: failed.at})+" ago")
	case name == "":
		step.Health = nameless()
	case !started:
		step.Health = health.Health{State: health.Progressing, Message: "not mounted yet"}
	}
	if name == "" {
		return i.visit(step)
	}
	return i.visit(step, func() (*Step, error) {
		key := client.ObjectKey{Namespace: pod.Namespace, Name: name}
		cause, err := i.referredConnection(ctx, key, step)
		if cause != nil || err != nil || hasFailed || started {
			return cause, err
		}
		return nil, i.refusal(ctx, pod, key, attributes, step)
	})
}

// nameless is how a volume is that names no Connection.
func nameless() health.Health {
	return degraded(v1alpha1.ReasonInvalidSpec, "its volumeAttributes name no %s", v1alpha1.AttributeConnection)
}

// refusal says of a volume that nobody has tried to mount yet why it will be refused.
func (i *Inspection) refusal(
	ctx context.Context, pod *corev1.Pod, key client.ObjectKey, attributes map[string]string, step *Step,
) error {
	c := &v1alpha1.Connection{}
	if err := i.objects.Get(ctx, key, c); err != nil {
		return client.IgnoreNotFound(err)
	}
	account := pod.Spec.ServiceAccountName
	if allowed := c.Spec.AllowedServiceAccounts; len(allowed) > 0 && !slices.Contains(allowed, account) {
		step.Health = degraded(v1alpha1.ReasonNotAllowed,
			"service account %q is not in allowedServiceAccounts of Connection %s", account, key)
		return nil
	}
	for _, attribute := range slices.Sorted(maps.Keys(attributes)) {
		overridden, is := strings.CutPrefix(attribute, v1alpha1.AttributeValuePrefix)
		if _, exists := c.Spec.Value[overridden]; is && !exists {
			step.Health = degraded(v1alpha1.ReasonUnknownOverride,
				"it overrides key %q, which the value of Connection %s does not have", overridden, key)
			return nil
		}
	}
	return nil
}

// failure is what a FailedMount event says.
type failure struct {
	reason, sentence string
	at               time.Time
}

var (
	failedMount = regexp.MustCompile(`(?s)^MountVolume\.SetUp failed for volume "([^"]+)" : ` +
		`(?:rpc error: code = \w+ desc = )?(.*)$`)
	reasoned = regexp.MustCompile(`(?s)^([A-Z][A-Za-z]+): (.*)$`)
)

// mountFailures are the latest failures by volume. Without the right to read events there are none.
func (i *Inspection) mountFailures(ctx context.Context, pod *corev1.Pod) (map[string]failure, error) {
	events := &corev1.EventList{}
	err := i.objects.List(ctx, events, client.InNamespace(pod.Namespace),
		client.MatchingFields{"involvedObject.uid": string(pod.UID), "reason": "FailedMount"})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	failures := map[string]failure{}
	for n := range events.Items {
		event := &events.Items[n]
		match := failedMount.FindStringSubmatch(event.Message)
		if match == nil {
			continue
		}
		at := lastSeen(event)
		if at.Before(failures[match[1]].at) {
			continue
		}
		found := failure{sentence: match[2], at: at}
		if parts := reasoned.FindStringSubmatch(match[2]); parts != nil {
			found.reason, found.sentence = parts[1], parts[2]
		}
		failures[match[1]] = found
	}
	return failures, nil
}

func lastSeen(event *corev1.Event) time.Time {
	if event.Series != nil {
		return event.Series.LastObservedTime.Time
	}
	if !event.LastTimestamp.IsZero() {
		return event.LastTimestamp.Time
	}
	return event.EventTime.Time
}

// nodePlugin looks whether the driver is registered where the pod is to run.
func (i *Inspection) nodePlugin(ctx context.Context, node string) (*Step, error) {
	step := &Step{Object: "node plugin on node " + node, Health: healthy("")}
	csiNode := &storagev1.CSINode{}
	err := i.objects.Get(ctx, client.ObjectKey{Name: node}, csiNode)
	switch {
	case apierrors.IsForbidden(err):
		step.Health = health.Health{State: health.Unknown, Message: "you have no right to look at it"}
	case client.IgnoreNotFound(err) != nil:
		return nil, err
	case !Registered(csiNode):
		step.Health = degraded("", "the CSI driver %s is not registered on node %s; see the pod of the DaemonSet sallyport-node there",
			v1alpha1.DriverName, node)
	}
	return i.visit(step)
}

// Registered tells whether the driver is registered on a node.
func Registered(on *storagev1.CSINode) bool {
	return slices.ContainsFunc(on.Spec.Drivers, func(d storagev1.CSINodeDriver) bool {
		return d.Name == v1alpha1.DriverName
	})
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for n := range pod.Status.Conditions {
		if pod.Status.Conditions[n].Type == kind {
			return &pod.Status.Conditions[n]
		}
	}
	return nil
}
