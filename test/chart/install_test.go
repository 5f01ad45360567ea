package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// cluster is an API server with nothing of Sallyport's.
type cluster struct {
	clients    *kubernetes.Clientset
	kubeconfig string
}

func startCluster() *cluster {
	GinkgoHelper()
	server := &envtest.Environment{ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute}
	rest, err := server.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(server.Stop()).To(Succeed()) })
	c := &cluster{kubeconfig: filepath.Join(GinkgoT().TempDir(), "kubeconfig")}
	Expect(os.WriteFile(c.kubeconfig, server.KubeConfig, 0o600)).To(Succeed())
	c.clients, err = kubernetes.NewForConfig(rest)
	Expect(err).NotTo(HaveOccurred())
	return c
}

func (c *cluster) helm(ctx context.Context, arguments ...string) (string, error) {
	GinkgoHelper()
	return helm(ctx, append(arguments, "--kubeconfig", c.kubeconfig)...)
}

// succeeds runs Helm and returns what it printed.
func (c *cluster) succeeds(ctx context.Context, arguments ...string) string {
	GinkgoHelper()
	output, err := c.helm(ctx, arguments...)
	Expect(err).NotTo(HaveOccurred(), output)
	return output
}

// refuses expects that Helm fails with a message, before anything is changed.
func (c *cluster) refuses(ctx context.Context, message string, arguments ...string) {
	GinkgoHelper()
	before := c.everything(ctx)
	output, err := c.helm(ctx, arguments...)
	Expect(err).To(HaveOccurred())
	Expect(output).To(ContainSubstring(message))
	Expect(c.everything(ctx)).To(Equal(before), "it was refused before anything was changed")
}

// everything lists what a chart might have made.
func (c *cluster) everything(ctx context.Context) string {
	GinkgoHelper()
	return c.kubectl(ctx, "get", "--all-namespaces", "--output=name", "customresourcedefinitions,csidrivers,clusterroles,"+
		"validatingadmissionpolicies,secrets,serviceaccounts,deployments,daemonsets")
}

func (c *cluster) kubectl(ctx context.Context, arguments ...string) string {
	GinkgoHelper()
	return kubectl(ctx, append(arguments, "--kubeconfig", c.kubeconfig)...)
}

func (c *cluster) makeNamespace(ctx context.Context, name string, labels map[string]string) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	_, err := c.clients.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	Expect(err).NotTo(HaveOccurred())
}

// expectPodAllowed has the API server judge the pod that a workload makes, without making it: nothing else runs here
// that would make it.
func (c *cluster) expectPodAllowed(ctx context.Context, namespace, kind, name string) {
	GinkgoHelper()
	var workload struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	found := c.kubectl(ctx, "get", kind, name, "--namespace", namespace, "--output=json")
	Expect(json.Unmarshal([]byte(found), &workload)).To(Succeed())
	template := workload.Spec.Template
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: template.Labels}, Spec: template.Spec}
	_, err := c.clients.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	Expect(err).NotTo(HaveOccurred())
}

func (c *cluster) driver(ctx context.Context) *storagev1.CSIDriver {
	GinkgoHelper()
	driver, err := c.clients.StorageV1().CSIDrivers().Get(ctx, "csi.sallyport.dev", metav1.GetOptions{})
	Expect(err).NotTo(HaveOccurred())
	return driver
}

// older returns a copy of the chart with another short name for Connections.
func older() string {
	GinkgoHelper()
	chart := filepath.Join(GinkgoT().TempDir(), "chart")
	output, err := exec.Command("cp", "--recursive", "--dereference", config("chart"), chart).CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(output))
	file := filepath.Join(chart, "files", "crd", "sallyport.dev_connections.yaml")
	content, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	replaced := bytes.ReplaceAll(content, []byte("    - conn\n"), []byte("    - old\n"))
	Expect(replaced).NotTo(Equal(content))
	Expect(os.WriteFile(file, replaced, 0o600)).To(Succeed())
	return chart
}

var _ = Describe("a cluster", Ordered, func() {
	var c *cluster
	var install []string

	BeforeAll(func() {
		c = startCluster()
		install = []string{"install", "sallyport", config("chart"), "--namespace", namespace, "--create-namespace"}
	})

	shortNames := func(ctx context.Context) string {
		GinkgoHelper()
		return c.kubectl(ctx, "get", "customresourcedefinition", "connections.sallyport.dev",
			"--output=jsonpath={.spec.names.shortNames}")
	}

	It("without CRDs is told to get them", func(ctx SpecContext) {
		c.refuses(ctx, "the CRDs are missing, and crds.install is false: apply crds.yaml of this release first",
			append(install, "--set=crds.install=false")...)
	})

	It("without a namespace that is named is told to make it", func(ctx SpecContext) {
		c.refuses(ctx, "rbac.namespaces names shop, and there is no such namespace: kubectl create namespace shop",
			append(install, "--set=rbac.secretAccess=namespaces", "--set=rbac.namespaces={shop}")...)
	})

	It("whose namespace is restricted is told what to do", func(ctx SpecContext) {
		c.makeNamespace(ctx, "restricted", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
		inRestricted := []string{"install", "sallyport", config("chart"), "--namespace", "restricted"}
		c.refuses(ctx, "give it a namespace of its own with --set node.namespace=sallyport-node, or "+
			"kubectl label namespace restricted pod-security.kubernetes.io/enforce=privileged --overwrite", inRestricted...)
		c.refuses(ctx, "node.namespace is restricted, that of the release: name another one",
			append(inRestricted, "--set=node.namespace=restricted")...)

		c.succeeds(ctx, append(inRestricted, "--set=node.namespace=plugins")...)
		c.expectPodAllowed(ctx, "restricted", "deployment", "sallyport-controller")
		c.expectPodAllowed(ctx, "plugins", "daemonset", "sallyport-node")
		c.refuses(ctx, "the node plugin is in namespace plugins, and two on one node would take the driver's socket "+
			"from each other: leave node.namespace as it is",
			"upgrade", "sallyport", config("chart"), "--namespace", "restricted", "--set=node.namespace=")
		c.succeeds(ctx, "uninstall", "sallyport", "--namespace", "restricted")
		c.kubectl(ctx, "delete", "customresourcedefinitions", "--all")
	})

	It("takes the chart with every option", func(ctx SpecContext) {
		c.makeNamespace(ctx, namespace, nil)
		c.makeNamespace(ctx, "shop", nil)
		operator := os.Getenv("PROMETHEUS_OPERATOR")
		Expect(operator).NotTo(BeEmpty(), "make test-chart sets it")
		for _, kind := range []string{"podmonitors", "prometheusrules"} {
			c.kubectl(ctx, "create", "--filename",
				filepath.Join(operator, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kind+".yaml"))
			// Without any condition, as it is at first, kubectl takes it for an error.
			c.kubectl(ctx, "wait", "--for=jsonpath={.status.conditions}", "customresourcedefinition", kind+".monitoring.coreos.com")
			c.kubectl(ctx, "wait", "--for=condition=Established", "customresourcedefinition", kind+".monitoring.coreos.com")
		}
		overlays, err := filepath.Glob("testdata/overlays/*/values.yaml")
		Expect(err).NotTo(HaveOccurred())
		for _, values := range overlays {
			c.succeeds(ctx, append(install, "--dry-run=server", "--values", values)...)
		}
		c.succeeds(ctx, append(install, "--dry-run=server", "--set=openshift.enabled=true")...)
	})

	It("has the chart installed, and is told the next command", func(ctx SpecContext) {
		output := c.succeeds(ctx, append(install[:2:2], append([]string{older()}, install[3:]...)...)...)
		Expect(output).To(ContainSubstring("kubectl -n sallyport-system rollout status daemonset/sallyport-node"))
		Expect(output).To(ContainSubstring("ImagePullBackOff: the nodes cannot pull sallyport.dev/sallyport:0.1.0: set image."))
		Expect(shortNames(ctx)).To(Equal(`["old"]`))
		Expect(c.driver(ctx).Spec.TokenRequests).To(HaveLen(2))
	})

	It("has its CRDs upgraded with the chart", func(ctx SpecContext) {
		c.succeeds(ctx, "upgrade", "sallyport", config("chart"), "--namespace", namespace,
			"--set=csiDriver.audiences={vault,openbao}")
		Expect(shortNames(ctx)).To(Equal(`["conn"]`))
		Expect(c.driver(ctx).Spec.TokenRequests).To(HaveLen(3))
	})

	It("has one Sallyport only, and is told where", func(ctx SpecContext) {
		c.makeNamespace(ctx, "second", nil)
		c.refuses(ctx, "this cluster has a Sallyport already, the Helm release sallyport in namespace sallyport-system, "+
			"and can have one only: upgrade that one, or uninstall it first",
			"install", "another", config("chart"), "--namespace", "second")
	})

	It("goes back", func(ctx SpecContext) {
		c.succeeds(ctx, "rollback", "sallyport", "1", "--namespace", namespace)
		Expect(c.driver(ctx).Spec.TokenRequests).To(HaveLen(2))
	})

	It("keeps CRDs and objects when the chart is uninstalled, and takes it again", func(ctx SpecContext) {
		c.kubectl(ctx, "apply", "--namespace=shop", "--filename", config("samples/connection-oracle.yaml"))
		c.succeeds(ctx, "uninstall", "sallyport", "--namespace", namespace)
		Expect(c.kubectl(ctx, "get", "connections", "--namespace=shop", "--output=name")).To(ContainSubstring("oracle"))
		_, err := c.clients.StorageV1().CSIDrivers().Get(ctx, "csi.sallyport.dev", metav1.GetOptions{})
		Expect(err).To(HaveOccurred())

		c.refuses(ctx, "the CRDs of an earlier installation are there (by the Helm release sallyport-system/sallyport), "+
			"and stay with all their objects: take them over with --take-ownership --force-conflicts --set adopt=true",
			"install", "another", config("chart"), "--namespace", "second")
		c.succeeds(ctx, install...)
		c.succeeds(ctx, "uninstall", "sallyport", "--namespace", namespace)
	})

	It("with the manifests applied is told where, and has them taken over", func(ctx SpecContext) {
		c.kubectl(ctx, "delete", "customresourcedefinitions", "--all")
		c.kubectl(ctx, "apply", "--kustomize", config("default"))
		c.refuses(ctx, "this cluster has a Sallyport already, installed by manifests in namespace sallyport-system, "+
			"and can have one only: delete that one first, or take it over, into the same namespace, "+
			"with --take-ownership --force-conflicts --set adopt=true",
			"install", "sallyport", config("chart"), "--namespace", "shop")
		// The manifests label the namespace, and so it is allowed here.
		c.succeeds(ctx, append(install, "--take-ownership", "--force-conflicts", "--set=adopt=true")...)
		c.succeeds(ctx, "upgrade", "sallyport", config("chart"), "--namespace", namespace)
	})
})
