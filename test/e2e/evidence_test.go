package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sallyport.dev/sallyport/api/v1alpha1"
)

// evidence is where the specs keep what would be gone when the search for secrets begins: logs of pods that were
// killed, objects of namespaces that were deleted, metrics of processes that ended. On the file system of the logs, so
// that they can be linked.
const evidence = "/var/log/sallyport-e2e"

// control is a text like a secret, but none. It must be found where secrets must not, or the search would prove
// nothing.
var control = "control-" + rand.Text()

// keepEvidence links every log of every pod into evidence as soon as it appears: a link stays when the kubelet removes
// the log.
func keepEvidence(context.Context) {
	GinkgoHelper()
	Expect(os.RemoveAll(evidence)).To(Succeed())
	Expect(os.MkdirAll(evidence, 0o700)).To(Succeed())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			linkLogs()
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	DeferCleanup(func() { close(stop); <-stopped })
}

func linkLogs() {
	logs, _ := filepath.Glob("/var/log/pods/*/*/*.log")
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil {
			continue
		}
		// The inode tells a log from the one before it, which the kubelet has moved out of the way.
		inode := info.Sys().(*syscall.Stat_t).Ino
		name := strings.ReplaceAll(strings.TrimPrefix(log, "/var/log/pods/"), "/", "_")
		_ = os.Link(log, filepath.Join(evidence, fmt.Sprintf("%d_%s", inode, name)))
	}
}

// placeControl puts the control into an object, and so into etcd and the audit log, and into the log of a pod.
func placeControl(ctx context.Context) {
	GinkgoHelper()
	meta := metav1.ObjectMeta{Namespace: "default", GenerateName: "e2e-control-"}
	pod := (&tenant{}).pod("")
	pod.ObjectMeta = meta
	pod.Spec.Volumes, pod.Spec.Containers[0].VolumeMounts = nil, nil
	for _, object := range []client.Object{&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"control": control}}, pod} {
		create(ctx, object)
		DeferCleanup(func(ctx SpecContext) { Expect(api.Delete(ctx, object)).To(Succeed()) }, NodeTimeout(soon))
	}
	expectRuns(ctx, pod, eventual)
}

// keepObjects keeps the objects of a namespace that Sallyport writes to or could write to. Secrets are the users' own.
func keepObjects(ctx context.Context, namespace string) {
	GinkgoHelper()
	for _, list := range []client.ObjectList{
		&v1alpha1.VaultConfigList{}, &v1alpha1.ConnectionList{}, &v1alpha1.VaultTaskList{},
		&corev1.EventList{}, &corev1.PodList{}, &corev1.ConfigMapList{},
	} {
		Expect(api.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
		content, err := json.Marshal(list)
		Expect(err).NotTo(HaveOccurred())
		name := fmt.Sprintf("%s-%s.json", namespace, strings.TrimPrefix(fmt.Sprintf("%T", list), "*"))
		Expect(os.WriteFile(filepath.Join(evidence, name), content, 0o600)).To(Succeed())
	}
}

// keepMetrics keeps what the product's pods tell of themselves now.
func keepMetrics(ctx context.Context) {
	GinkgoHelper()
	for _, component := range []string{"controller", "node"} {
		for _, pod := range systemPods(ctx, component) {
			content := metricsOf(ctx, &pod)
			Expect(content).To(ContainSubstring("sallyport_"), "metrics of pod %s", pod.Name)
			name := fmt.Sprintf("metrics-%s-%d.txt", pod.Name, time.Now().UnixNano())
			Expect(os.WriteFile(filepath.Join(evidence, name), []byte(content), 0o600)).To(Succeed())
		}
	}
}

func metricsOf(ctx context.Context, pod *corev1.Pod) string {
	GinkgoHelper()
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(pod.Status.PodIP, "8080")+"/metrics", http.NoBody)
	Expect(err).NotTo(HaveOccurred())
	response, err := (&http.Transport{}).RoundTrip(request)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	Expect(response.StatusCode).To(Equal(http.StatusOK))
	content, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// explainFailure shows what usually explains a failed spec: warnings in the specs' namespaces and the product's last
// words.
func explainFailure(ctx context.Context) {
	events := &corev1.EventList{}
	if api == nil || api.List(ctx, events) != nil {
		return
	}
	for i := range events.Items {
		e := &events.Items[i]
		if e.Type == corev1.EventTypeWarning && strings.HasPrefix(e.Namespace, "e2e-") {
			GinkgoWriter.Printf("%s %s/%s: %s: %s\n", e.LastTimestamp.Format(time.TimeOnly), e.Namespace, e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
	pods := &corev1.PodList{}
	if api.List(ctx, pods, client.InNamespace(systemNamespace)) != nil {
		return
	}
	lines := int64(25)
	for i := range pods.Items {
		name := pods.Items[i].Name
		content, err := clientset.CoreV1().Pods(systemNamespace).GetLogs(name, &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
		GinkgoWriter.Printf("--- the end of the log of %s (%v):\n%s\n", name, err, content)
	}
}
