// Package e2e tests Sallyport as its users meet it: the manifests of config/ on a real kubelet with real containers,
// and a real Vault. It runs inside the node's namespaces, beside the kubelet, with the product applied; make test-e2e
// sees to both.
//
// Every secret value comes from newSecret. Whatever else a spec is about, the suite ends with a search for all of these
// values wherever none may be (leaks_test.go). So a spec never puts one into a pod's spec, an annotation or a command's
// arguments: it compares in this process what it reads from the pods' volumes.
package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	vaultapi "github.com/hashicorp/vault/api"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"sallyport.dev/sallyport/api/v1alpha1"
)

const (
	systemNamespace = "sallyport-system"
	demoImage       = "sallyport.dev/demo-app:1"

	// Time limits, generous because the machine may have other things to do.
	soon     = 15 * time.Second  // what takes a second when nothing else runs
	eventual = 60 * time.Second  // what may have to wait for a back-off of the kubelet or of a controller
	atLast   = 150 * time.Second // what may have to wait for several
	often    = 100 * time.Millisecond
)

// What BeforeSuite sets, once.
var (
	restConfig *rest.Config
	api        client.Client
	clientset  *kubernetes.Clientset
	vault      *vaultapi.Client

	vaultCA string // PEM
	paths   directories

	prepared bool // BeforeSuite came to its end
)

// directories are those that the specs need to know of.
type directories struct {
	cluster  string // state of the node's programs
	checkout string // the sources, for hack/cluster/component.sh
}

func (d directories) etcd() string  { return filepath.Join(d.cluster, "etcd") }
func (d directories) logs() string  { return filepath.Join(d.cluster, "logs") }
func (d directories) vault() string { return filepath.Join(d.cluster, "vault") }
func (d directories) component() string {
	return filepath.Join(d.checkout, "hack", "cluster", "component.sh")
}

func TestEndToEnd(t *testing.T) {
	RegisterFailHandler(Fail)
	log.SetLogger(GinkgoLogr)
	RunSpecs(t, "Sallyport on a real node")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	SetDefaultEventuallyPollingInterval(often)
	findPaths()
	connect()
	expectProductReady(ctx)
	keepEvidence(ctx)
	placeControl(ctx)
	prepared = true
}, NodeTimeout(3*time.Minute))

var _ = AfterEach(func(ctx SpecContext) {
	if CurrentSpecReport().Failed() {
		explainFailure(ctx)
	}
}, NodeTimeout(20*time.Second))

func findPaths() {
	paths.cluster = setting("SALLYPORT_CLUSTER_DIR")
	dir, err := os.Getwd()
	Expect(err).NotTo(HaveOccurred())
	for paths.checkout = dir; paths.checkout != "/"; paths.checkout = filepath.Dir(paths.checkout) {
		if _, err := os.Stat(paths.component()); err == nil {
			return
		}
	}
	Fail("hack/cluster/component.sh was not found above " + dir + ": run the suite from within the checkout")
}

// setting returns an environment variable that hack/cluster/exec.sh sets.
func setting(name string) string {
	value := os.Getenv(name)
	Expect(value).NotTo(BeEmpty(), "%s is not set: the suite runs inside the node of hack/cluster; make test-e2e does all that", name)
	return value
}

func connect() {
	var err error
	restConfig, err = clientcmd.BuildConfigFromFlags("", setting("KUBECONFIG"))
	Expect(err).NotTo(HaveOccurred())
	restConfig.QPS = -1
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	api, err = client.New(restConfig, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	clientset, err = kubernetes.NewForConfig(restConfig)
	Expect(err).NotTo(HaveOccurred())

	// The client library reads the address and the CA from the environment by itself.
	setting("VAULT_ADDR")
	pem, err := os.ReadFile(setting("VAULT_CACERT"))
	Expect(err).NotTo(HaveOccurred())
	vaultCA = string(pem)
	canaries.forbid("Vault's root token", setting("VAULT_TOKEN"))
	vault, err = vaultapi.NewClient(vaultapi.DefaultConfig())
	Expect(err).NotTo(HaveOccurred())
}

// expectProductReady waits for both replicas of the controller and for the node plugin.
func expectProductReady(ctx context.Context) {
	GinkgoHelper()
	Eventually(ctx, func(g Gomega) {
		controller := &appsv1.Deployment{}
		g.Expect(api.Get(ctx, inSystem("sallyport-controller"), controller)).To(Succeed(), "apply config/default first")
		g.Expect(controller.Status.ObservedGeneration).To(Equal(controller.Generation))
		g.Expect(controller.Status.UpdatedReplicas).To(Equal(*controller.Spec.Replicas), "updated replicas of the controller")
		g.Expect(controller.Status.AvailableReplicas).To(Equal(*controller.Spec.Replicas), "available replicas of the controller")
		g.Expect(controller.Status.Replicas).To(Equal(*controller.Spec.Replicas), "replicas of the controller")
		g.Expect(len(published(ctx))).To(BeNumerically(">=", 2), "published resolvers")

		plugin := &appsv1.DaemonSet{}
		g.Expect(api.Get(ctx, inSystem("sallyport-node"), plugin)).To(Succeed())
		g.Expect(plugin.Status.ObservedGeneration).To(Equal(plugin.Generation))
		g.Expect(plugin.Status.DesiredNumberScheduled).To(BeNumerically("==", 1), "node plugins wanted")
		g.Expect(plugin.Status.NumberReady).To(BeNumerically("==", 1), "node plugins ready")
	}).WithTimeout(2 * time.Minute).WithPolling(time.Second).Should(Succeed())
}

func inSystem(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: systemNamespace, Name: name}
}

// systemPods returns the product's running pods of one component, controller or node.
func systemPods(ctx context.Context, component string) []corev1.Pod {
	GinkgoHelper()
	list := &corev1.PodList{}
	Expect(api.List(ctx, list, client.InNamespace(systemNamespace), client.MatchingLabels{"app.kubernetes.io/component": component})).To(Succeed())
	var running []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil && isRunning(&pod) {
			running = append(running, pod)
		}
	}
	return running
}

// plugin returns the pod of the node plugin.
func plugin(ctx context.Context) *corev1.Pod {
	GinkgoHelper()
	var pods []corev1.Pod
	Eventually(ctx, func() []corev1.Pod { pods = systemPods(ctx, "node"); return pods }).
		WithTimeout(eventual).Should(HaveLen(1), "running node plugins")
	return &pods[0]
}
