package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

const (
	mountPath       = "/connection"
	refreshInterval = 5 * time.Second
)

// pod builds a pod that mounts a Connection and does nothing. It does not set readOnly: the node plugin mounts
// read-only in any case.
func (t *tenant) pod(connection string) *corev1.Pod {
	volume := builder.WithConnection(map[string]string{v1alpha1.AttributeConnection: connection})
	return builder.Pod(t.namespace, "", volume, func(p *corev1.Pod) {
		p.GenerateName = connection + "-"
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
		p.Spec.AutomountServiceAccountToken = new(false)
		p.Spec.Containers[0] = corev1.Container{
			Name:            "app",
			Image:           demoImage,
			ImagePullPolicy: corev1.PullNever,
			Command:         []string{"/bin/sh", "-c", "echo " + control + "; exec sleep 3600"},
			VolumeMounts:    []corev1.VolumeMount{{Name: builder.VolumeName, MountPath: mountPath}},
		}
	})
}

// attributes are those of the pod's volume.
func attributes(pod *corev1.Pod) map[string]string { return pod.Spec.Volumes[0].CSI.VolumeAttributes }

// start creates a pod of a Connection.
func (t *tenant) start(ctx context.Context, connection string) *corev1.Pod {
	GinkgoHelper()
	pod := t.pod(connection)
	create(ctx, pod)
	return pod
}

// run creates a pod of a Connection and waits until it runs.
func (t *tenant) run(ctx context.Context, connection string) *corev1.Pod {
	GinkgoHelper()
	pod := t.start(ctx, connection)
	expectRuns(ctx, pod, eventual)
	return pod
}

// startMany creates pods of a Connection.
func (t *tenant) startMany(ctx context.Context, connection string, count int) []*corev1.Pod {
	GinkgoHelper()
	var pods []*corev1.Pod
	for range count {
		pods = append(pods, t.start(ctx, connection))
	}
	return pods
}

func isRunning(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].Ready
}

// expectRuns waits until a pod runs, with nobody's help.
func expectRuns(ctx context.Context, pod *corev1.Pod, limit time.Duration) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) bool {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		return isRunning(pod)
	}).WithTimeout(limit).Should(BeTrue(), func() string {
		return "pod " + pod.Name + " does not run:\n" + strings.Join(failedMounts(ctx, pod), "\n")
	})
}

// startSomeThatWait starts pods, and more where all of them run already, so that what is about to happen happens in the
// middle of mounts.
func (t *tenant) startSomeThatWait(ctx context.Context, connection string, count int) []*corev1.Pod {
	GinkgoHelper()
	var pods []*corev1.Pod
	for {
		more := t.startMany(ctx, connection, count)
		pods = append(pods, more...)
		waiting := 0
		for _, pod := range more {
			Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			if pod.Status.Phase == corev1.PodPending {
				waiting++
			}
		}
		if waiting >= count/3 { // not until one of them runs: on a quick machine all do by then
			return pods
		}
		Expect(len(pods)).To(BeNumerically("<", 4*count), "pods do not run yet when all have been made")
	}
}

// expectAllRun waits until all pods run and hold a value.
func expectAllRun(ctx context.Context, pods []*corev1.Pod, file, value string) {
	GinkgoHelper()
	deadline := time.Now().Add(atLast)
	for _, pod := range pods {
		expectRuns(ctx, pod, time.Until(deadline))
		expectFile(pod, file, value)
	}
}

// read returns a file of the pod's volume, as the pod sees it.
func read(pod *corev1.Pod, file string) (string, error) {
	content, err := os.ReadFile(inPod(pod, filepath.Join(mountPath, file)))
	return string(content), err
}

func expectFile(pod *corev1.Pod, file, value string) {
	GinkgoHelper()
	content, err := read(pod, file)
	Expect(err).NotTo(HaveOccurred())
	Expect(content).To(Equal(value), "file %s of pod %s", file, pod.Name)
}

// failedMounts returns the messages of the pod's FailedMount events.
func failedMounts(ctx context.Context, pod *corev1.Pod) []string {
	return eventsOf(ctx, pod, "FailedMount")
}

func eventsOf(ctx context.Context, object client.Object, reason string) []string {
	GinkgoHelper()
	list := &corev1.EventList{}
	Expect(api.List(ctx, list, client.InNamespace(object.GetNamespace()),
		client.MatchingFields{"involvedObject.name": object.GetName(), "reason": reason})).To(Succeed())
	var messages []string
	for i := range list.Items {
		messages = append(messages, list.Items[i].Message)
	}
	return messages
}

// expectFailedMount waits for a FailedMount event with reason and sentence, and for the pod to be kept from starting.
func expectFailedMount(ctx context.Context, pod *corev1.Pod, reason, sentence string) {
	GinkgoHelper()
	Eventually(ctx, func() []string { return failedMounts(ctx, pod) }).WithTimeout(eventual).
		Should(ContainElement(And(ContainSubstring(reason), ContainSubstring(sentence))), "FailedMount events of pod %s", pod.Name)
	expectWaits(ctx, pod)
}

// expectWaits makes sure that a pod is kept from starting.
func expectWaits(ctx context.Context, pod *corev1.Pod) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		g.Expect(api.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		g.Expect(waitingReasons(pod)).To(ConsistOf("ContainerCreating"))
	}).WithTimeout(soon).Should(Succeed())
	Expect(pod.Status.Phase).To(Equal(corev1.PodPending))
}

func waitingReasons(pod *corev1.Pod) []string {
	var reasons []string
	for i := range pod.Status.ContainerStatuses {
		if waiting := pod.Status.ContainerStatuses[i].State.Waiting; waiting != nil {
			reasons = append(reasons, waiting.Reason)
		}
	}
	return reasons
}

// logOf returns what the pod's container wrote, line by line.
func logOf(ctx context.Context, pod *corev1.Pod) []string {
	GinkgoHelper()
	content, err := clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	Expect(err).NotTo(HaveOccurred())
	return slices.Collect(strings.Lines(string(content)))
}

// remove deletes a pod and waits until it is gone.
func remove(ctx context.Context, pod *corev1.Pod, options ...client.DeleteOption) {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(api.Delete(ctx, pod, options...))).To(Succeed())
	expectGone(ctx, pod)
}

func expectGone(ctx context.Context, pod *corev1.Pod) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) bool {
		current := &corev1.Pod{}
		err := api.Get(ctx, client.ObjectKeyFromObject(pod), current)
		g.Expect(client.IgnoreNotFound(err)).To(Succeed())
		return err != nil || current.UID != pod.UID
	}).WithTimeout(eventual).Should(BeTrue(), "pod %s is still there", pod.Name)
}
