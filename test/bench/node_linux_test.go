package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/test/builder"
)

// What a pod mounts, in the order in which it is reported.
const (
	mountsNothing = iota
	mountsSecret
	mountsConnection
	kinds
)

// realNode is the node of hack/cluster, with Sallyport installed as config/ has it, and a namespace there with one Secret
// and one Connection of the same content.
type realNode struct {
	client    client.Client
	vault     *vaultapi.Client
	namespace string

	mu sync.Mutex
	// running and gone are when this process was told of it, by pod.
	running, gone map[string]time.Time
}

// newRealNode is for a process inside the node, as hack/bench.sh starts it.
func newRealNode(t *testing.T, namespace string) *realNode {
	t.Helper()
	if os.Getenv("SALLYPORT_ROOT") == "" {
		t.Skip("it needs the node of hack/cluster, with Sallyport installed; run it with: hack/bench.sh " + t.Name())
	}
	g := NewWithT(t)
	log.SetLogger(logr.Discard())
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	g.Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	n := &realNode{namespace: namespace, running: map[string]time.Time{}, gone: map[string]time.Time{}}
	n.client, err = client.New(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	n.vault, err = vaultapi.NewClient(vaultapi.DefaultConfig()) // address, CA and token are in the environment
	g.Expect(err).NotTo(HaveOccurred())
	n.awaitProduct(t)
	n.addTenant(t)
	clients, err := kubernetes.NewForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	n.follow(t, clients)
	return n
}

// awaitProduct waits for both replicas of the controller and for the node plugin.
func (n *realNode) awaitProduct(t *testing.T) {
	t.Helper()
	NewWithT(t).Eventually(func(g Gomega) {
		controller, plugin := &appsv1.Deployment{}, &appsv1.DaemonSet{}
		g.Expect(n.client.Get(t.Context(), client.ObjectKey{Namespace: "sallyport-system", Name: "sallyport-controller"}, controller)).To(Succeed())
		g.Expect(n.client.Get(t.Context(), client.ObjectKey{Namespace: "sallyport-system", Name: "sallyport-node"}, plugin)).To(Succeed())
		g.Expect(controller.Status.ObservedGeneration).To(Equal(controller.Generation))
		g.Expect(controller.Status.AvailableReplicas).To(Equal(*controller.Spec.Replicas))
		g.Expect(plugin.Status.ObservedGeneration).To(Equal(plugin.Generation))
		g.Expect(plugin.Status.NumberReady).To(BeNumerically("==", 1))
	}, 3*time.Minute, time.Second).Should(Succeed())
}

// addTenant makes the namespace with all that its pods mount.
func (n *realNode) addTenant(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	content := map[string]string{"user": "scott", "password": "tiger"}
	g.Expect(n.vault.Sys().PutPolicyWithContext(t.Context(), n.namespace, `path "secret/data/bench" { capabilities = ["read"] }`)).To(Succeed())
	_, err := n.vault.KVv2(builder.EnginePath).Put(t.Context(), "bench", map[string]any{"user": content["user"], "password": content["password"]})
	g.Expect(err).NotTo(HaveOccurred())
	token, err := n.vault.Auth().Token().CreateOrphanWithContext(t.Context(), &vaultapi.TokenCreateRequest{Policies: []string{n.namespace}, TTL: "2h"})
	g.Expect(err).NotTo(HaveOccurred())
	authority, err := os.ReadFile(os.Getenv("VAULT_CACERT"))
	g.Expect(err).NotTo(HaveOccurred())
	connection := newConnection(n.namespace, "db", "bench")
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.namespace}},
		builder.TokenSecret(n.namespace, builder.TokenSecretName, token.Auth.ClientToken),
		builder.VaultConfig(n.namespace, builder.ConfigName, builder.WithAddress(n.vault.Address(), string(authority))),
		builder.Secret(n.namespace, "db", content), connection,
	} {
		g.Expect(n.client.Create(t.Context(), object)).To(Succeed())
	}
	g.Eventually(func(g Gomega) {
		g.Expect(n.client.Get(t.Context(), client.ObjectKeyFromObject(connection), connection)).To(Succeed())
		g.Expect(meta.IsStatusConditionTrue(connection.Status.Conditions, v1alpha1.ConditionReady)).To(BeTrue())
		g.Expect(n.client.Get(t.Context(), client.ObjectKey{Namespace: n.namespace, Name: "default"}, &corev1.ServiceAccount{})).To(Succeed())
	}, time.Minute, 100*time.Millisecond).Should(Succeed())
}

// follow notes when pods run, and when they are gone.
func (n *realNode) follow(t *testing.T, clients kubernetes.Interface) {
	t.Helper()
	g := NewWithT(t)
	factory := informers.NewSharedInformerFactoryWithOptions(clients, 0, informers.WithNamespace(n.namespace))
	pods := factory.Core().V1().Pods().Informer()
	note := func(times map[string]time.Time, object any) {
		if pod, ok := object.(*corev1.Pod); ok {
			n.mu.Lock()
			defer n.mu.Unlock()
			if _, known := times[pod.Name]; !known {
				times[pod.Name] = time.Now()
			}
		}
	}
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, object any) {
			if pod, ok := object.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodRunning {
				note(n.running, pod)
			}
		},
		DeleteFunc: func(object any) { note(n.gone, object) },
	})
	g.Expect(err).NotTo(HaveOccurred())
	factory.Start(t.Context().Done())
	g.Expect(cache.WaitForCacheSync(t.Context().Done(), pods.HasSynced)).To(BeTrue())
}

// await waits for a pod to be noted, and returns when it was.
func (n *realNode) await(ctx context.Context, times map[string]time.Time, pod string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		n.mu.Lock()
		at, noted := times[pod]
		n.mu.Unlock()
		if noted {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("pod %s: %w", pod, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// pod is a pod that mounts something, or nothing, and ends at once when it is deleted.
func (n *realNode) pod(kind int, name string) *corev1.Pod {
	return builder.Pod(n.namespace, name, func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.TerminationGracePeriodSeconds = new(int64(1))
		p.Spec.AutomountServiceAccountToken = new(false)
		app := &p.Spec.Containers[0]
		app.Image, app.ImagePullPolicy = "sallyport.dev/demo-app:1", corev1.PullNever
		app.Command = []string{"/bin/sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"}
		switch kind {
		case mountsNothing:
			return
		case mountsSecret:
			p.Spec.Volumes = []corev1.Volume{{Name: builder.VolumeName, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db"}}}}
		case mountsConnection:
			builder.WithConnection(map[string]string{v1alpha1.AttributeConnection: "db"})(p)
		}
		app.VolumeMounts = []corev1.VolumeMount{{Name: builder.VolumeName, MountPath: "/db", ReadOnly: true}}
	})
}

// start makes a pod, and returns how long it takes until it runs.
func (n *realNode) start(ctx context.Context, kind int, name string) (time.Duration, error) {
	started := time.Now()
	if err := n.client.Create(ctx, n.pod(kind, name)); err != nil {
		return 0, err
	}
	running, err := n.await(ctx, n.running, name)
	return running.Sub(started), err
}

// startAll makes pods at once.
func (n *realNode) startAll(t *testing.T, kind int, prefix string, number int) timing {
	t.Helper()
	result := timing{took: make([]time.Duration, number)}
	result.elapsed = timed(t, number, number, func(ctx context.Context, i int) (err error) {
		result.took[i], err = n.start(ctx, kind, fmt.Sprintf("%s-%d", prefix, i))
		return err
	}).elapsed
	return result
}

// remove deletes pods and waits until they are gone.
func (n *realNode) remove(t *testing.T, names ...string) {
	t.Helper()
	timed(t, len(names), prepareAtATime, func(ctx context.Context, i int) error {
		if err := n.client.Delete(ctx, n.pod(mountsNothing, names[i])); err != nil {
			return err
		}
		_, err := n.await(ctx, n.gone, names[i])
		return err
	})
}

func (n *realNode) removeAll(t *testing.T, prefix string, number int) {
	t.Helper()
	names := make([]string, number)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	n.remove(t, names...)
}

// component starts or stops a program of the node.
func component(t *testing.T, arguments ...string) {
	t.Helper()
	// What it starts outlives the test, so it must not be in the test's context.
	command := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(os.Getenv("SALLYPORT_ROOT"), "hack", "cluster", "component.sh"), arguments...)
	output, err := command.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), "component.sh %v: %s", arguments, output)
}

// TestStart measures what a user waits for: from the request that creates a pod until it is Running, on a real kubelet,
// for pods that mount nothing, a Secret and a Connection, in turn. BENCH_PODS is how many of each start one after the
// other, BENCH_AT_ONCE how many at once, and BENCH_REPEAT how often these do.
func TestStart(t *testing.T) {
	n := newRealNode(t, "bench-start")
	number, atOnce, repeat := setting(t, "BENCH_PODS", 60), setting(t, "BENCH_AT_ONCE", 40), setting(t, "BENCH_REPEAT", 5)
	one := n.oneAfterTheOther(t, number)
	all := n.allAtOnce(t, atOnce, repeat)
	report := newReport("start", fmt.Sprintf("from a pod's creation to Running on a real kubelet; it mounts 0: nothing, 1: a Secret, 2: a Connection; %d one after the other, and %d at once, %d times",
		number, atOnce, repeat),
		"mounts", "p50 ms", "p95 ms", "slowest ms", "at once, all s", "at once, p50 s")
	together := make([]float64, kinds)
	for kind := range kinds {
		var seconds []float64
		pods := timing{}
		for _, turn := range all[kind] {
			seconds = append(seconds, turn.elapsed.Seconds())
			pods = pods.plus(turn)
		}
		together[kind] = median(seconds)
		report.add(float64(kind), one[kind].percentile(0.5), one[kind].percentile(0.95), one[kind].percentile(1), together[kind], pods.percentile(0.5)/1000)
	}
	secret, connection := one[mountsSecret], one[mountsConnection]
	report.goal("median above that with a Secret, ms", connection.percentile(0.5)-secret.percentile(0.5), 15)
	report.goal("p95 above that with a Secret, ms", connection.percentile(0.95)-secret.percentile(0.95), 50)
	report.goal("all at once by those with a Secret", together[mountsConnection]/together[mountsSecret], 1.1)
	report.publish(t)
}

// oneAfterTheOther starts pods of each kind in turn.
func (n *realNode) oneAfterTheOther(t *testing.T, number int) []timing {
	t.Helper()
	found := make([]timing, kinds)
	for kind := range kinds { // what the first pod of a kind finds cold is not measured
		n.startAll(t, kind, fmt.Sprintf("first-%d", kind), 1)
		n.removeAll(t, fmt.Sprintf("first-%d", kind), 1)
	}
	for i := range number {
		for turn := range kinds {
			kind := (i + turn) % kinds
			prefix := fmt.Sprintf("one-%d-%d", kind, i)
			found[kind] = found[kind].plus(n.startAll(t, kind, prefix, 1))
			n.removeAll(t, prefix, 1)
		}
	}
	return found
}

// allAtOnce starts many of each kind in turn, and again.
func (n *realNode) allAtOnce(t *testing.T, number, repeat int) [][]timing {
	t.Helper()
	found := make([][]timing, kinds)
	for i := range repeat {
		for turn := range kinds {
			kind := (i + turn) % kinds
			prefix := fmt.Sprintf("all-%d-%d", kind, i)
			found[kind] = append(found[kind], n.startAll(t, kind, prefix, number))
			n.removeAll(t, prefix, number)
			wait(t, 5*time.Second) // the kubelet takes the volumes apart after the pods are gone
		}
	}
	return found
}

// TestReturn measures how long pods wait that were created while Vault was away, from the moment that it is back: unsealed
// and active. BENCH_PODS is how many there are, BENCH_SECONDS how long Vault is away, BENCH_REPEAT how often.
func TestReturn(t *testing.T) {
	n := newRealNode(t, "bench-return")
	number, away, repeat := setting(t, "BENCH_PODS", 10), time.Duration(setting(t, "BENCH_SECONDS", 60))*time.Second, setting(t, "BENCH_REPEAT", 3)
	report := newReport("return", fmt.Sprintf("seconds from Vault's return, after %s, until %d pods run that were created just after it had stopped", away, number),
		"turn", "first s", "p50 s", "last s")
	for turn := range repeat {
		waits := n.loseVault(t, fmt.Sprintf("turn-%d", turn), number, away)
		report.add(float64(turn+1), waits.percentile(0)/1000, waits.percentile(0.5)/1000, waits.percentile(1)/1000)
		n.removeAll(t, fmt.Sprintf("turn-%d", turn), number)
	}
	report.publish(t)
}

// loseVault is one turn of it.
func (n *realNode) loseVault(t *testing.T, prefix string, number int, away time.Duration) timing {
	t.Helper()
	g := NewWithT(t)
	component(t, "stop", "vault")
	stopped := time.Now()
	timed(t, number, prepareAtATime, func(ctx context.Context, i int) error {
		return n.client.Create(ctx, n.pod(mountsConnection, fmt.Sprintf("%s-%d", prefix, i)))
	})
	wait(t, time.Until(stopped.Add(away)))
	component(t, "start", "vault")
	component(t, "vault-unseal")
	g.Eventually(func(g Gomega) {
		health, err := n.vault.Sys().HealthWithContext(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(health.Initialized && !health.Sealed && !health.Standby).To(BeTrue())
	}, time.Minute, 10*time.Millisecond).Should(Succeed())
	back := time.Now()
	waits := timing{}
	for i := range number {
		running, err := n.await(t.Context(), n.running, fmt.Sprintf("%s-%d", prefix, i))
		g.Expect(err).NotTo(HaveOccurred())
		waits.took = append(waits.took, running.Sub(back))
	}
	return waits
}
